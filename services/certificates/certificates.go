// Package certificates owns the TLS of the ports: it reads the certificate, its key and
// the authorities that clients' certificates must be of, and reads them again when the
// files change, so that renewing one needs no restart.
//
// It refuses what could not work at the start, with the reason. Later it refuses to serve
// less than before: files that cannot be used leave in force what was read last.
package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are where certificates are, in PEM.
type Files struct {
	// Cert is the certificate with those that lead to its authority, Key its private key. Both or none.
	Cert, Key string
	// ClientCA are the authorities of clients' certificates; empty: clients show none.
	ClientCA string
}

// checkEvery is how long files are taken to be as they were.
const checkEvery = time.Second

// A Server is the TLS of a process's ports. It is safe for concurrent use.
type Server struct {
	files  Files
	logger *slog.Logger
	every  time.Duration

	mu      sync.Mutex
	checked time.Time
	seen    [3]stamp // of the files, as they were when they were last read
	current *tls.Config
}

// A stamp changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// NewServer reads the files, or says what is wrong with them. A nil logger is silent.
func NewServer(files Files, logger *slog.Logger) (*Server, error) {
	if files.Cert == "" || files.Key == "" {
		return nil, errors.New("TLS takes a certificate and its key")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{files: files, logger: logger, every: checkEvery}
	seen, err := s.look()
	if err != nil {
		return nil, err
	}
	if s.current, err = files.read(time.Now()); err != nil {
		return nil, err
	}
	s.seen, s.checked = seen, time.Now()
	return s, nil
}

// Config is for a port that speaks the given protocols, such as "h2". Every handshake uses
// the files as they are then.
func (s *Server) Config(protocols ...string) *tls.Config {
	// One configuration for all handshakes by the same files: it holds what sessions are resumed with.
	var mu sync.Mutex
	var of, with *tls.Config
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			if fresh := s.fresh(); fresh != of {
				of, with = fresh, fresh.Clone()
				with.NextProtos = protocols
			}
			return with, nil
		},
	}
}

// fresh is the configuration of the files as they are, or as they last could be used.
func (s *Server) fresh() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.checked) < s.every {
		return s.current
	}
	s.checked = now
	seen, err := s.look()
	if err == nil && seen == s.seen {
		return s.current
	}
	var read *tls.Config
	if err == nil {
		read, err = s.files.read(now)
	}
	if err != nil { // perhaps half written: looked at again, as what was seen is not remembered
		s.logger.Warn("changed TLS files cannot be used; the old ones stay in force", "error", err)
		return s.current
	}
	s.logger.Info("TLS files were read again")
	s.seen, s.current = seen, read
	return s.current
}

func (s *Server) look() (seen [3]stamp, err error) {
	for i, path := range []string{s.files.Cert, s.files.Key, s.files.ClientCA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return seen, fmt.Errorf("TLS: %w", err)
		}
		seen[i] = stamp{info.ModTime(), info.Size()}
	}
	return seen, nil
}

// read reads the files.
func (f Files) read(now time.Time) (*tls.Config, error) {
	pair, err := readPair(f.Cert, f.Key, now)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.ClientCA == "" {
		return c, nil
	}
	if c.ClientCAs, err = readPool(f.ClientCA); err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// readPair reads a certificate with its key. One that is out of date is refused: nobody would take it.
func readPair(cert, key string, now time.Time) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("TLS certificate %s with key %s: %w", cert, key, err)
	}
	if ends := pair.Leaf.NotAfter; now.After(ends) {
		return pair, fmt.Errorf("TLS certificate %s: it ended on %s", cert, ends.UTC().Format(time.RFC3339))
	}
	return pair, nil
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("TLS authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("TLS authorities: %s has no certificate in PEM", path)
	}
	return pool, nil
}

// Client is the TLS of somebody who calls a port: whose certificates it takes, and the one
// it shows itself. The zero value takes those of the system's authorities and shows none.
type Client struct {
	// CA are the authorities of the server's certificate; empty: the system's.
	CA string
	// Cert and Key are shown where the server asks for a certificate. Both or none.
	Cert, Key string
}

// Config reads the files, or says what is wrong with them.
func (c Client) Config() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.CA != "" {
		if out.RootCAs, err = readPool(c.CA); err != nil {
			return nil, err
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("a TLS certificate and its key go together")
	}
	if c.Cert != "" {
		pair, err := readPair(c.Cert, c.Key, time.Now())
		if err != nil {
			return nil, err
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
