package returns

import (
	"bytes"
	"encoding/json"

	springtidev1 "springtide/proto/springtide/v1"
)

// document is a return as JSON. The order of its fields is the order they are written in.
type document struct {
	Form    string `json:"form"`
	Edition string `json:"edition,omitempty"`
	Period  struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"period"`
	Taxpayer struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
	} `json:"taxpayer"`
	Authority string            `json:"authority"`
	Lines     map[string]string `json:"lines"`
	Context   map[string]string `json:"context,omitempty"`
	Amendment int32             `json:"amendment,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
}

// Marshal writes a return as one line of JSON that Parse reads back. The order
// is stable: fields as in the documentation, cells and facts by name. Amounts
// are strings. requestID may be empty.
func Marshal(r *springtidev1.Return, requestID string) []byte {
	d := document{
		Form: r.GetForm(), Edition: r.GetEdition(), Authority: r.GetAuthority(),
		Lines: r.GetLines(), Context: r.GetContext(), Amendment: r.GetAmendment(), RequestID: requestID,
	}
	d.Period.Start, d.Period.End = r.GetPeriod().GetStart(), r.GetPeriod().GetEnd()
	d.Taxpayer.ID, d.Taxpayer.Name = r.GetTaxpayer().GetId(), r.GetTaxpayer().GetName()
	if d.Lines == nil {
		d.Lines = map[string]string{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(d) // strings, maps of strings and numbers always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
