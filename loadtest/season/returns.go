package season

import (
	"bufio"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"

	springtidev1 "springtide/proto/springtide/v1"
)

// WriteReturns writes so many requests, each of a taxpayer of its own, as one JSON
// array: what other load generators read. Mistakes is how many of a thousand have one.
func WriteReturns(out io.Writer, seed uint64, count, mistakes int) error {
	if count < 1 || count > mostFilings || mistakes < 0 || mistakes > 1000 {
		return fmt.Errorf("%d returns, %d of a thousand with a mistake: must be 1 to %d, and 0 to 1000", count, mistakes, mostFilings)
	}
	w := bufio.NewWriterSize(out, 1<<16)
	from := newSource(Config{Seed: seed, Mistakes: mistakes}, count)
	for i := range count {
		r, _, err := from.next()
		if err != nil {
			return err
		}
		text, err := protojson.Marshal(&springtidev1.SubmitFilingRequest{Return: r, RequestId: fmt.Sprintf("returns-%d-%d", seed, i)})
		if err != nil {
			return err
		}
		before := ",\n"
		if i == 0 {
			before = "[\n"
		}
		if _, err := fmt.Fprintf(w, "%s%s", before, text); err != nil {
			return err
		}
	}
	if _, err := w.WriteString("\n]\n"); err != nil {
		return err
	}
	return w.Flush()
}
