package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/returns"
)

const (
	importPattern = "POST /v1/imports"
	// maxImport bounds a file, in bytes; mostRows what it holds.
	maxImport = 32 << 20
	mostRows  = 5000
	// checkedAtOnce is how many rows of one import are checked or kept at the same time.
	checkedAtOnce = 16
)

// An importRow is what became of one return of a file.
type importRow struct {
	// Row says where in the file it stands, for people: the line of a table or of
	// JSON lines, or the place in a list.
	Row        string            `json:"row"`
	OK         bool              `json:"ok"`
	FilingID   string            `json:"filing_id,omitempty"`
	Return     json.RawMessage   `json:"return,omitempty"`
	Completed  json.RawMessage   `json:"completed,omitempty"`
	Violations []json.RawMessage `json:"violations,omitempty"`
	// Problem is set when the row was not kept although that was asked for.
	Problem string `json:"problem,omitempty"`
}

// imports reads a file of returns and checks every row; nothing is sent to an
// authority. With ?save=true rows are kept as drafts, those that break rules too.
// A row that is wrong hides no other.
func (s *Server) imports(w http.ResponseWriter, r *http.Request) {
	save := r.URL.Query().Get("save") == "true"
	id, err := s.authenticated(r, []string{keys.RoleAccountant})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	name, file, err := uploaded(r)
	if err != nil {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonRequestMalformed, Err: err})
		return
	}
	items, err := returns.Parse(name, file)
	if err != nil {
		s.fail(w, r, fileProblem(err))
		return
	}
	if len(items) > mostRows {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonTooManyItems, Field: "file", Args: filing.Args{"max": strconv.Itoa(mostRows)}})
		return
	}
	rows := make([]importRow, len(items))
	var group errgroup.Group
	group.SetLimit(checkedAtOnce)
	for i, item := range items {
		group.Go(func() (err error) {
			rows[i], err = s.importOne(r, id.Tenant, item, save)
			rows[i].Row = placeOf(item.Source, path.Base(name))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.fail(w, r, err)
		return
	}
	ready := 0
	for _, row := range rows {
		if row.OK {
			ready++
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"rows": rows, "ready": ready, "blocked": len(rows) - ready})
}

// uploaded is the file of a request: the part "file" of a form, or the body itself.
func uploaded(r *http.Request) (name string, file io.Reader, err error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return "import", r.Body, nil //nolint:nilerr // without a type the content tells
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return "", nil, fmt.Errorf("form: %w", err)
	}
	for {
		part, err := parts.NextPart()
		if err != nil {
			return "", nil, fmt.Errorf("form without a part \"file\": %w", err)
		}
		if part.FormName() == "file" {
			return part.FileName(), part, nil
		}
	}
}

// fileProblem says what is wrong with a file as a whole.
func fileProblem(err error) error {
	bad, ok := errors.AsType[*returns.Error](err)
	if !ok {
		return &filing.Error{Reason: filing.ReasonRequestMalformed, Err: err}
	}
	return &filing.Error{Reason: filing.ReasonRequestMalformed, Field: "file", Zh: bad.Text(true), En: bad.Text(false)}
}

// importOne checks one return, and keeps it where that is asked for. The error is
// one that no other row will escape.
func (s *Server) importOne(r *http.Request, tenant string, item returns.Item, save bool) (importRow, error) {
	var row importRow
	if bad, ok := errors.AsType[*returns.Error](item.Err); ok {
		row.Violations = marshalAll(bad.Violations)
		return row, nil
	}
	row.FilingID = string(filing.IDOf(tenant, item.Return))
	row.Return = marshal(item.Return)
	ctx := outgoing(r)
	checked, err := s.filings.CheckFiling(ctx, &springtidev1.CheckFilingRequest{Return: item.Return})
	if err == nil {
		row.OK = checked.GetOk()
		row.Violations, row.Completed = marshalAll(checked.GetViolations()), marshal(checked.GetCompleted())
		if !save {
			return row, nil
		}
		_, err = s.filings.SaveDraft(ctx, &springtidev1.SaveDraftRequest{Return: item.Return})
	}
	if err == nil {
		return row, nil
	}
	p := ofStatus(status.Convert(err), languageOf(r))
	if p.Status >= http.StatusInternalServerError || p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden && p.Reason != filing.ReasonTaxpayerDenied {
		return row, err
	}
	row.OK, row.Problem = false, p.Detail
	return row, nil
}

// placeOf is where an item stands, out of "q2.csv:12", "q2.json[3]" or "q2.json".
func placeOf(source, name string) string {
	return cmp.Or(strings.Trim(strings.TrimPrefix(source, name), ":[]"), "1")
}

func marshal(m proto.Message) json.RawMessage {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil { // text that is not UTF-8, which the reader lets nobody in with
		return nil
	}
	return text
}

func marshalAll[M proto.Message](all []M) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(all))
	for _, m := range all {
		out = append(out, marshal(m))
	}
	return out
}
