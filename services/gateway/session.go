package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"springtide/services/filing"
	"springtide/services/keys"
)

const (
	// minSecret is the shortest secret that sessions are sealed with, in bytes.
	minSecret = 32
	// cookieName is bound to this host by its prefix where the connection is safe.
	cookieName       = "springtide_session"
	secureCookieName = "__Host-" + cookieName
	// longestToken that a session holds: a cookie has 4 KiB.
	longestToken = 2800
	// mostCodes bounds the sign-in codes that wait to be used.
	mostCodes = 64
)

// sessions seal and open the cookie of a browser. A session is the caller's own
// token and the time it ends, encrypted: nothing is kept here, any gateway of the
// installation opens it, and a key that is revoked ends its sessions at once.
type sessions struct {
	aead cipher.AEAD
	time time.Duration

	mu    sync.Mutex
	codes map[string]string // one-time code -> token
}

func newSessions(secret []byte, lasting time.Duration) (*sessions, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "springtide session v1", 32)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	return &sessions{aead: aead, time: lasting, codes: make(map[string]string)}, nil
}

// seal makes the value of a cookie.
func (s *sessions) seal(token string, ends time.Time) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(ends.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, append(plain, token...), nil))
}

// open takes the value of a cookie apart.
func (s *sessions) open(value string, now time.Time) (token string, ends time.Time, err error) {
	expired := &filing.Error{Reason: filing.ReasonSessionExpired}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return "", time.Time{}, expired
	}
	plain, err := s.aead.Open(nil, nil, sealed, nil)
	if err != nil || len(plain) < 8 {
		return "", time.Time{}, expired
	}
	ends = time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	if !now.Before(ends) {
		return "", time.Time{}, expired
	}
	return string(plain[8:]), ends, nil
}

// offer makes a code that signs a token in once.
func (s *sessions) offer(token string) string {
	code := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.codes) >= mostCodes {
		for other := range s.codes { // any: whoever did not use theirs has the key itself
			delete(s.codes, other)
			break
		}
	}
	s.codes[code] = token
	return code
}

// redeem uses a code up.
func (s *sessions) redeem(code string) (token string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok = s.codes[code]
	delete(s.codes, code)
	return token, ok
}

// LoginPath gives a path that signs whoever opens it in, once, as the token's owner. The page is
// "/login", which leads to "/", or one of the pages, which uses the code up by itself.
func (s *Server) LoginPath(page, token string) string {
	return page + "?code=" + s.sessions.offer(token)
}

// sessionOf is the token of a request's cookie; empty: it has none.
func (s *Server) sessionOf(r *http.Request) (token string, ends time.Time, err error) {
	for _, name := range []string{secureCookieName, cookieName} {
		if c, err := r.Cookie(name); err == nil {
			return s.sessions.open(c.Value, time.Now())
		}
	}
	return "", time.Time{}, nil
}

// signIn sets the cookie of a session, or refuses the token.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, token string) (keys.Identity, time.Time, error) {
	if len(token) > longestToken {
		return keys.Identity{}, time.Time{}, &filing.Error{Reason: filing.ReasonKeyInvalid}
	}
	id, err := s.deps.Keys.Authenticate(token)
	if err != nil {
		return keys.Identity{}, time.Time{}, err
	}
	ends := time.Now().Add(s.sessions.time)
	s.setCookie(w, r, s.sessions.seal(token, ends), ends)
	return id, ends, nil
}

// setCookie sets or, with an empty value, removes the cookie.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, ends time.Time) {
	c := &http.Cookie{
		Name: cookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: ends,
	}
	if r.TLS != nil {
		c.Name, c.Secure = secureCookieName, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// sessionInfo is what a page may know about its session.
type sessionInfo struct {
	Tenant  string    `json:"tenant"`
	Subject string    `json:"subject"`
	Roles   []string  `json:"roles"`
	Expires time.Time `json:"expires,omitzero"`
	Locale  string    `json:"locale"`
}

// createSession signs a browser in with a key, or with a one-time code.
func (s *Server) createSession(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Key  string `json:"key"`
		Code string `json:"code"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonRequestMalformed, Err: err})
		return
	}
	token := strings.TrimSpace(body.Key)
	if body.Code != "" {
		var ok bool
		if token, ok = s.sessions.redeem(body.Code); !ok {
			s.fail(w, r, &filing.Error{Reason: filing.ReasonCodeInvalid})
			return
		}
	}
	if token == "" {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonFieldRequired, Field: "key"})
		return
	}
	id, ends, err := s.signIn(w, r, token)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, sessionInfo{id.Tenant, id.Subject, id.Roles, ends, languageOf(r)})
}

// getSession tells a page who is signed in.
func (s *Server) getSession(w http.ResponseWriter, r *http.Request) {
	id, err := s.authenticated(r, keys.Roles())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_, ends, _ := s.sessionOf(r)
	writeJSON(w, http.StatusOK, sessionInfo{id.Tenant, id.Subject, id.Roles, ends, languageOf(r)})
}

// deleteSession signs a browser out. The key goes on to count.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) {
	s.setCookie(w, r, "", time.Unix(1, 0))
	w.WriteHeader(http.StatusNoContent)
}

// login redeems a one-time code and leads to the pages. SameSite cookies that are
// set by a link from elsewhere are not sent with its redirect, so a page does it.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if code == "" {
		s.pages.ServeHTTP(w, r)
		return
	}
	token, ok := s.sessions.redeem(code)
	if !ok {
		if s.deps.Pages != nil { // a link that is opened again leads to where one signs in, or in
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		s.fail(w, r, &filing.Error{Reason: filing.ReasonCodeInvalid})
		return
	}
	if _, _, err := s.signIn(w, r, token); err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Refresh", "0; url=/")
	_, _ = w.Write([]byte(`<!doctype html><meta charset="utf-8"><title>Springtide</title><a href="/">Springtide</a>`))
}

// bearer is the token of a request, wherever it came from.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return token
}

// authenticated finds out who is asking, for handlers that are not the door's.
func (s *Server) authenticated(r *http.Request, roles []string) (keys.Identity, error) {
	if r.Header.Get("Authorization") == "" {
		return keys.Identity{}, &filing.Error{Reason: filing.ReasonKeyMissing}
	}
	id, err := s.deps.Keys.Authenticate(bearer(r))
	if err != nil {
		return keys.Identity{}, err
	}
	if id.Tenant == "" || !id.HasRole(roles...) {
		return keys.Identity{}, &filing.Error{
			Reason: filing.ReasonPermissionDenied, Args: filing.Args{"roles": strings.Join(roles, " / ")},
		}
	}
	return id, nil
}
