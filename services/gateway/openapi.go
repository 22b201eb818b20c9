package gateway

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// The documents: generated ones from the protos, one written by hand for what is no RPC.
//
//go:embed openapi
var documents embed.FS

// object is a JSON object.
type object = map[string]any

// openAPI puts the documents together into one of version 3.1.
func openAPI() ([]byte, error) {
	all := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Springtide", "version": "1",
			"description": "Tax returns in, receipts out. Every acknowledged return ends as exactly one filing at the authority, or as a clear reason why not.",
		},
		"security": []any{object{"key": []any{}}},
		"paths":    object{}, "components": object{},
	}
	var paths []string
	err := fs.WalkDir(documents, "openapi", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	// What is written by hand comes last, as it knows better.
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Compare(generatedFirst(a), generatedFirst(b)) })
	for _, path := range paths {
		err = errors.Join(err, add(all, path))
	}
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	withProblems(all)
	return json.Marshal(all)
}

// generatedFirst orders documents.
func generatedFirst(path string) string {
	if strings.HasSuffix(path, ".openapi.json") {
		return "0" + path
	}
	return "1" + path
}

// add puts one document into the whole.
func add(all object, path string) error {
	text, err := documents.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if strings.HasSuffix(path, ".openapi.json") {
		protoNames(doc)
	}
	for _, part := range []string{"paths", "components"} {
		if more, ok := doc[part].(object); ok {
			merge(all[part].(object), more) //nolint:errcheck // made by openAPI
		}
	}
	return nil
}

// merge puts one object into another, level by level; what is not an object replaces.
func merge(into, more object) {
	for name, v := range more {
		below, ok1 := into[name].(object)
		new, ok2 := v.(object)
		if ok1 && ok2 && name != "responses" {
			merge(below, new)
			continue
		}
		into[name] = v
	}
}

// protoNames gives properties and parameters the names we write: the generator knows lowerCamelCase only.
func protoNames(v any) {
	switch v := v.(type) {
	case object:
		if properties, ok := v["properties"].(object); ok {
			for name := range maps.Clone(properties) {
				p := properties[name]
				delete(properties, name)
				properties[snake(name)] = p
			}
		}
		if name, ok := v["name"].(string); ok && v["in"] != nil {
			v["name"] = snake(name)
		}
		for _, below := range v {
			protoNames(below)
		}
	case []any:
		for _, below := range v {
			protoNames(below)
		}
	}
}

func snake(camel string) string {
	var b strings.Builder
	for _, r := range camel {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// withProblems says of every operation what its errors look like.
func withProblems(doc object) {
	failed := object{
		"description": "What went wrong, and what to do.",
		"content":     object{problemType: object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
	}
	paths, _ := doc["paths"].(object)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		operations, _ := paths[path].(object)
		for _, operation := range operations {
			o, _ := operation.(object)
			if responses, ok := o["responses"].(object); ok {
				responses["default"] = failed
			}
		}
	}
}

func (s *Server) serveDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(s.document)
}
