package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
)

func (a *app) formsCommand() *cobra.Command {
	var edition string
	cmd := &cobra.Command{
		Use:   "forms [NAME]",
		Short: "List the forms, or show the cells and rules of one",
		Long: `Forms lists what can be filed; with a name it shows the cells of a form, the
facts it asks for and the rules it is checked by.`,
		Example: `  springtide forms
  springtide forms cn.vat.small --lang zh`,
		Args: arguments(0, 1, "one NAME at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *client) error {
				if len(args) == 0 {
					return a.listForms(cmd.Context(), c)
				}
				return a.showForm(cmd.Context(), c, args[0], edition)
			})
		},
	}
	a.shared.addClient(cmd.Flags())
	cmd.Flags().StringVar(&edition, "edition", "", "this `edition` (default: the newest)")
	return cmd
}

func (a *app) listForms(ctx context.Context, c *client) error {
	var resp *springtidev1.ListFormsResponse
	err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
		resp, err = c.filings.ListForms(ctx, &springtidev1.ListFormsRequest{})
		return err
	})
	if err != nil {
		return err
	}
	l, out, rows := a.ui.Lang, &list{w: a.ui.Out}, [][]string{}
	for _, f := range resp.GetForms() {
		if a.ui.JSON {
			entry := struct {
				Form     string   `json:"form"`
				Title    string   `json:"title"`
				Editions []string `json:"editions"`
				Legal    string   `json:"legal,omitempty"`
			}{f.GetForm(), l.text(f.GetTitle()), f.GetEditions(), f.GetLegal()}
			if err := out.add(entry); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{f.GetForm(), l.text(f.GetTitle()), strings.Join(f.GetEditions(), ", ")})
	}
	if a.ui.JSON {
		return out.end()
	}
	return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
		{l.say("申报表", "FORM"), 0}, {l.say("名称", "TITLE"), 20}, {l.say("版本", "EDITIONS"), 8},
	}, rows)
}

// formEntry is a form as scripts see it.
type formEntry struct {
	Form      string      `json:"form"`
	Edition   string      `json:"edition"`
	Title     string      `json:"title"`
	Legal     string      `json:"legal,omitempty"`
	ValidFrom string      `json:"valid_from,omitempty"`
	ValidTo   string      `json:"valid_to,omitempty"`
	Cells     []cellEntry `json:"cells"`
	Context   []factEntry `json:"context"`
	Rules     []ruleEntry `json:"rules"`
}

type cellEntry struct {
	Code  string `json:"code"`
	Label string `json:"label"`
	Kind  string `json:"kind"`
	Type  string `json:"type"`
}

type factEntry struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
}

type ruleEntry struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Source   string `json:"source,omitempty"`
}

func (a *app) showForm(ctx context.Context, c *client, name, edition string) error {
	var resp *springtidev1.GetFormResponse
	err := c.retry.do(ctx, false, func(ctx context.Context) (err error) {
		resp, err = c.filings.GetForm(ctx, &springtidev1.GetFormRequest{Form: name, Edition: edition})
		return err
	})
	if err != nil {
		return err
	}
	f := formEntryOf(resp.GetForm(), a.ui.Lang)
	if a.ui.JSON {
		return writeJSON(a.ui.Out, f)
	}
	return a.writeForm(f)
}

func formEntryOf(f *springtidev1.Form, l Lang) formEntry {
	e := formEntry{
		Form: f.GetForm(), Edition: f.GetEdition(), Title: l.text(f.GetTitle()), Legal: f.GetLegal(),
		ValidFrom: f.GetValidFrom(), ValidTo: f.GetValidTo(),
		Cells: []cellEntry{}, Context: []factEntry{}, Rules: []ruleEntry{},
	}
	for _, c := range f.GetCells() {
		e.Cells = append(e.Cells, cellEntry{c.GetCode(), l.text(c.GetLabel()), c.GetKind(), c.GetType()})
	}
	for _, c := range f.GetContext() {
		e.Context = append(e.Context, factEntry{c.GetName(), l.text(c.GetMeaning())})
	}
	for _, r := range f.GetRules() {
		e.Rules = append(e.Rules, ruleEntry{r.GetRule(), severityWord(r.GetSeverity()), l.text(r.GetMessage()), r.GetSource()})
	}
	return e
}

func (a *app) writeForm(f formEntry) error {
	l, ui := a.ui.Lang, a.ui
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", ui.bold(f.Form), f.Title)
	writePairs(&b, ui, indent, [][2]string{
		{l.say("版本", "edition"), f.Edition},
		{l.say("适用所属期", "periods"), strings.TrimSpace(f.ValidFrom + " .. " + f.ValidTo)},
		{l.say("依据", "legal basis"), f.Legal},
	})
	cells := make([][]string, len(f.Cells))
	for i, c := range f.Cells {
		cells[i] = []string{c.Code, c.Kind, c.Type, c.Label}
	}
	facts := make([][]string, len(f.Context))
	for i, c := range f.Context {
		facts[i] = []string{c.Name, c.Meaning}
	}
	rules := make([][]string, len(f.Rules))
	for i, r := range f.Rules {
		rules[i] = []string{r.Rule, r.Severity, r.Message}
	}
	tables := []struct {
		title   string
		columns []column
		rows    [][]string
	}{
		{l.say("栏次", "Cells"), []column{{l.say("代码", "CODE"), 0}, {l.say("来源", "KIND"), 0}, {l.say("类型", "TYPE"), 0}, {l.say("名称", "LABEL"), 20}}, cells},
		{l.say("附加信息", "Facts"), []column{{l.say("名称", "NAME"), 0}, {l.say("含义", "MEANING"), 20}}, facts},
		{l.say("校验规则", "Rules"), []column{{l.say("规则", "RULE"), 0}, {l.say("级别", "SEVERITY"), 0}, {l.say("内容", "MEANING"), 20}}, rules},
	}
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", ui.bold(t.title))
		if err := writeTable(&b, ui.OutTerm, indent, t.columns, t.rows); err != nil {
			return err
		}
	}
	_, err := ui.Out.Write([]byte(b.String()))
	return err
}
