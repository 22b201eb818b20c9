package season

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"springtide/loadtest/verdict"
)

// Names of the files in a run's folder.
const (
	ReportName   = "run.json"
	ackName      = "ack.hgrm"
	acceptedName = "accepted.hgrm"
	secondsName  = "seconds.csv"
	pageName     = "index.html"
	clientsName  = "clients.jsonl"
	bookName     = "book.jsonl"
)

// writeAll writes everything there is of a run into a folder, with the logs of what
// was started. The evidence is only kept when something is wrong with it.
func (r *Report) writeAll(dir, logs string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	write := func(name string, to func(io.Writer) error) error {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		out := bufio.NewWriterSize(file, 1<<16)
		if err := errors.Join(to(out), out.Flush(), file.Close()); err != nil {
			return fmt.Errorf("write report: %s: %w", name, err)
		}
		return nil
	}
	errs := []error{
		write(ReportName, func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", " ")
			return enc.Encode(r)
		}),
		write(ackName, distribution(r.ack)), write(acceptedName, distribution(r.accepted)),
		write(secondsName, r.writeSeconds), write(pageName, r.WriteHTML),
	}
	if !r.Verdict.Kept() {
		errs = append(errs, write(clientsName, r.writeClients), write(bookName, func(w io.Writer) error { return lines(w, r.evidence.Book) }))
	}
	return errors.Join(append(errs, keepLogs(logs, filepath.Join(dir, "log")))...)
}

// distribution writes a histogram as HdrHistogram's plotter reads it, in milliseconds.
func distribution(h *hdrhistogram.Histogram) func(io.Writer) error {
	return func(w io.Writer) error {
		const ticks, microsecondsInOne = 5, 1000
		_, err := h.PercentilesPrint(w, ticks, microsecondsInOne)
		return err
	}
}

func (r *Report) writeSeconds(w io.Writer) error {
	out := csv.NewWriter(w)
	rows := [][]string{{
		"second", "planned", "acknowledged", "accepted", "ended", "open", "oldest_s", "ack_p50_ms", "ack_p99_ms", "product_cpu_s", "lag_validate", "lag_submit",
	}}
	float := func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	for i, s := range r.seconds {
		rows = append(rows, []string{
			strconv.Itoa(i), strconv.Itoa(s.planned), strconv.Itoa(s.acked), strconv.Itoa(s.accepted), strconv.Itoa(s.ended), strconv.Itoa(s.open),
			float(s.oldest), float(1000 * s.ackP50), float(1000 * s.ackP99), float(s.cpu), float(s.lag["validate"]), float(s.lag["submit"]),
		})
	}
	return out.WriteAll(rows)
}

// writeClients writes the clients' log as package verdict reads it.
func (r *Report) writeClients(w io.Writer) error {
	e := r.evidence
	var all []verdict.Entry
	for i := range e.Offers {
		all = append(all, verdict.Entry{Offer: &e.Offers[i]})
	}
	for i := range e.Acks {
		all = append(all, verdict.Entry{Ack: &e.Acks[i]})
	}
	for i := range e.Told {
		all = append(all, verdict.Entry{Told: &e.Told[i]})
	}
	return lines(w, all)
}

func lines[T any](w io.Writer, all []T) error {
	enc := json.NewEncoder(w)
	for _, x := range all {
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}

// keepLogs copies the logs that say anything.
func keepLogs(from, to string) error {
	if from == "" {
		return nil
	}
	logs, _ := filepath.Glob(filepath.Join(from, "*.log")) // the pattern is a good one
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
		if len(text) == 0 {
			continue
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), text, 0o644); err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
	}
	return nil
}

// ReadReport reads a run.json, or the one in a run's folder. Only what is in the file is there.
func ReadReport(path string) (*Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, ReportName)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("read report %s: schema %d, but this program reads %d", path, r.Schema, schema)
	}
	return r, nil
}
