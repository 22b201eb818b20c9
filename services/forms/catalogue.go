package forms

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	springtidev1 "springtide/proto/springtide/v1"
)

//go:embed data
var embedded embed.FS

// A Catalogue is all forms, compiled. It never changes after Load and is safe
// for concurrent use.
type Catalogue struct {
	forms       map[string]*form
	names       []string // sorted
	authorities map[string]*springtidev1.LocalizedText
}

// Load compiles the embedded forms. An error means that the data of this build
// is broken, and names the file, the rule and the expression.
func Load() (*Catalogue, error) { return load(embedded, "data") }

func load(files fs.FS, dir string) (*Catalogue, error) {
	c := &Catalogue{forms: map[string]*form{}, authorities: map[string]*springtidev1.LocalizedText{}}
	var list authoritiesFile
	if err := decode(files, path.Join(dir, "authorities.yaml"), &list); err != nil {
		return nil, err
	}
	for _, a := range list.Authorities {
		c.authorities[a.ID] = a.text()
	}
	names, err := fs.Glob(files, path.Join(dir, "form.*.yaml"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("find forms in %s: %d found: %w", dir, len(names), err)
	}
	for _, name := range names {
		var file formFile
		if err := decode(files, name, &file); err != nil {
			return nil, err
		}
		var included []ruleFile
		for _, other := range file.Include {
			var shared sharedFile
			if err := decode(files, path.Join(dir, "shared."+other+".yaml"), &shared); err != nil {
				return nil, err
			}
			included = append(included, shared.Rules...)
		}
		f, err := compileForm(&file, included)
		if err != nil {
			return nil, fmt.Errorf("compile form %s: %w", name, err)
		}
		if c.forms[f.name] != nil {
			return nil, fmt.Errorf("compile form %s: %s is there twice", name, f.name)
		}
		c.forms[f.name] = f
	}
	c.names = slices.Sorted(maps.Keys(c.forms))
	return c, nil
}

func decode(files fs.FS, name string, into any) error {
	b, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("read form data: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read form data %s: %w", name, err)
	}
	return nil
}

func (b bilingual) text() *springtidev1.LocalizedText {
	return &springtidev1.LocalizedText{Zh: b.Zh, En: b.En}
}

// Forms lists every form with its editions, oldest first, sorted by name. The
// messages are the caller's own.
func (c *Catalogue) Forms() []*springtidev1.FormSummary {
	out := make([]*springtidev1.FormSummary, 0, len(c.names))
	for _, name := range c.names {
		f := c.forms[name]
		s := &springtidev1.FormSummary{Form: name, Title: f.title.text()}
		for _, e := range f.editions {
			s.Editions = append(s.Editions, e.Edition)
			s.Legal = e.Legal
		}
		out = append(out, s)
	}
	return out
}

// Form describes one edition; an empty edition is the newest. The error of an
// unknown form or edition names what exists. The message is the caller's own.
func (c *Catalogue) Form(name, edition string) (*springtidev1.Form, error) {
	f := c.forms[name]
	if f == nil {
		return nil, fmt.Errorf("no form %q; there are %s", clip(name), strings.Join(c.names, ", "))
	}
	if edition == "" {
		edition = f.editions[len(f.editions)-1].Edition
	}
	for i, e := range f.editions {
		if e.Edition == edition {
			return proto.CloneOf(f.described[i]), nil
		}
	}
	return nil, fmt.Errorf("form %s has no edition %q; there are %s", name, clip(edition), f.editionList().En)
}

// AuthorityName names an authority, nil when the code is unknown.
func (c *Catalogue) AuthorityName(code string) *springtidev1.LocalizedText {
	if n := c.authorities[code]; n != nil {
		return proto.CloneOf(n)
	}
	return nil
}
