package simulate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestThePageStandsAlone(t *testing.T) {
	t.Parallel()
	w := Defaults()
	trace, _ := Named("spike")
	trace.Name = "<script>alert(1)</script>"
	results, err := Compare(w, []Trace{trace})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteHTML(&b, w, []Trace{trace}, results); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, bad := range []string{"<script", "http:", "https:", "src=", "ZgotmplZ", "NaN"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, good := range []string{"keda-tuned", "clairvoyant", "<polyline", "consumers wanted"} {
		if !strings.Contains(text, good) {
			t.Errorf("the page lacks %q", good)
		}
	}
	start, end := strings.Index(text, "<svg"), strings.Index(text, "</svg>")
	d := xml.NewDecoder(strings.NewReader(text[start : end+6]))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the chart is not well formed: %v", err)
		}
	}
}
