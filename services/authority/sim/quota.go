package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"springtide/services/authority"
)

// maxAuthorities bounds how many quotas are kept apart.
const maxAuthorities = 256

// validQuota says whether an authority can bear so many requests a second; 0: any number.
func validQuota(perSecond float64) error {
	if !(perSecond >= 0 && perSecond <= 1e6) {
		return errors.New("the quota must be from 0 to a million a second")
	}
	return nil
}

// SetQuota changes the requests a second each authority bears, like PUT /quota.
func (s *Server) SetQuota(perSecond float64) error {
	if err := validQuota(perSecond); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = perSecond
	clear(s.quotas)
	return nil
}

// overQuota takes a token of an authority, or tells how long until there is one.
func (s *Server) overQuota(r *http.Request, code string) time.Duration {
	b := s.bucket(code)
	if b == nil {
		return 0
	}
	wait, _ := b.Take(r.Context(), code)
	return wait
}

// bucket is that of an authority; nil: it bears any number.
func (s *Server) bucket(code string) *authority.Bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quota == 0 {
		return nil
	}
	if _, ok := s.quotas[code]; !ok && len(s.quotas) >= maxAuthorities {
		code = ""
	}
	b := s.quotas[code]
	if b == nil {
		b, _ = authority.NewBucket(s.quota, int(s.quota)) // the rate was validated
		s.quotas[code] = b
	}
	return b
}

// quotaBody is what GET and PUT /quota carry.
type quotaBody struct {
	PerSecond *float64 `json:"per_second"`
}

func (s *Server) getQuota(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	now := s.quota
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, quotaBody{&now})
}

func (s *Server) putQuota(w http.ResponseWriter, r *http.Request) {
	var body quotaBody
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	if err == nil && body.PerSecond == nil {
		err = errors.New("per_second is missing")
	}
	if err == nil {
		err = s.SetQuota(*body.PerSecond)
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("quota: %v", err)})
		return
	}
	s.getQuota(w, r)
}
