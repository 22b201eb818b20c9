// Package board serves the accountant's and the operators' board: the pages that
// are built from web/ by .ci/board, committed in dist/ and part of the binary. It owns
// how they are cached, compressed and shut in. It refuses to know any data: the pages
// ask the HTTP face of the front door for it, with the session of whoever signed in.
package board

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"
)

//go:embed dist
var dist embed.FS

// policy lets the pages load what is ours and nothing else. No script or style
// stands in a page, so none that is smuggled in can run; text becomes markup nowhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// plain are files that have an address of their own, without a digest.
const plain = "licences.txt"

// Board answers for "/", "/login", "/ops" and "/assets/". It is safe for concurrent use.
type Board struct {
	pages  map[string]page // by path
	assets map[string]*file
}

// A page is announced in one of two languages.
type page struct{ zh, en *file }

// documents are the pages by their file. The operators' has a bundle of its own, so that
// neither costs who opens the other.
func documents() map[string][]string {
	return map[string][]string{"index.html": {"/", "/login"}, "ops.html": {"/ops"}}
}

// A file is one answer, ready to be sent.
type file struct {
	kind, etag, cache string
	raw, packed       []byte
}

// New prepares every answer.
func New() (*Board, error) {
	b := &Board{pages: map[string]page{}, assets: map[string]*file{}}
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	addresses := []string{}
	for _, e := range entries {
		raw, err := fs.ReadFile(dist, "dist/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("board: %w", err)
		}
		if path.Ext(e.Name()) == ".html" {
			continue
		}
		f, err := newFile(raw, mime.TypeByExtension(path.Ext(e.Name())), "public, max-age=31536000, immutable")
		if err != nil {
			return nil, err
		}
		address := "/assets/" + withDigest(e.Name(), f.etag)
		if e.Name() == plain {
			address, f.cache = "/assets/"+plain, "no-cache"
		}
		b.assets[address] = f
		addresses = append(addresses, "{{"+e.Name()+"}}", address)
	}
	for name, paths := range documents() {
		p, err := newPage(name, addresses)
		if err != nil {
			return nil, err
		}
		for _, at := range paths {
			b.pages[at] = p
		}
	}
	return b, nil
}

// newPage puts the addresses of its parts into a document, once for each language.
func newPage(name string, addresses []string) (p page, err error) {
	document, err := fs.ReadFile(dist, "dist/"+name)
	if err != nil {
		return p, fmt.Errorf("board: %w", err)
	}
	for lang, into := range map[string]**file{"zh-CN": &p.zh, "en": &p.en} {
		text := strings.NewReplacer(append(slices.Clone(addresses), "{{lang}}", lang)...).Replace(string(document))
		if *into, err = newFile([]byte(text), "text/html; charset=utf-8", "no-cache"); err != nil {
			return p, err
		}
	}
	return p, nil
}

func newFile(raw []byte, kind, cache string) (*file, error) {
	sum := sha256.Sum256(raw)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	return &file{kind: kind, cache: cache, etag: hex.EncodeToString(sum[:8]), raw: raw, packed: packed.Bytes()}, nil
}

// withDigest makes "main.js" into "main.0123456789abcdef.js".
func withDigest(name, digest string) string {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + digest + ext
}

// ServeHTTP answers with a page or one of its parts.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	f := b.assets[r.URL.Path]
	if p, ok := b.pages[r.URL.Path]; ok {
		f = p.in(r.Header.Get("Accept-Language"))
		w.Header().Add("Vary", "Accept-Language")
	}
	if f == nil {
		http.NotFound(w, r)
		return
	}
	f.serve(w, r)
}

// in picks the language in which the page is announced; it can be changed there.
func (p page) in(accept string) *file {
	wanted, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return p.en
	}
	_, at, _ := language.NewMatcher([]language.Tag{language.English, language.Chinese}).Match(wanted...)
	if at == 1 {
		return p.zh
	}
	return p.en
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", f.cache)
	h.Add("Vary", "Accept-Encoding")
	body, etag := f.raw, `"`+f.etag+`"`
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body, etag = f.packed, `"`+f.etag+`-gz"`
	}
	h.Set("ETag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // whoever asked is gone
}

// acceptsGzip reads an Accept-Encoding header; "gzip;q=0" refuses it.
func acceptsGzip(values []string) bool {
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, found := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !found || (err == nil && weight > 0)
	}
	return false
}
