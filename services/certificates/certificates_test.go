package certificates_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/services/certificates"
)

// An authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	der, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour),
	})
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	return a
}

func (a *authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// write writes the authority's certificate.
func (a *authority) write(path string) string {
	a.t.Helper()
	replace(a.t, path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return path
}

// issue writes a certificate of a name and its key.
func (a *authority) issue(cert, key, name string, ends time.Time) {
	a.t.Helper()
	der, private := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	replace(a.t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
	replace(a.t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// replace puts a file in the place of another, as who renews certificates does.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// serve answers every connection with "hello", which is only read once the server took the client.
func serve(t *testing.T, c *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				_, _ = io.WriteString(conn, "hello\n") // a client that was refused is not told
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		open.Wait()
	})
	return listener.Addr().String()
}

// greeted connects and gives the name of the certificate that the server showed.
func greeted(t *testing.T, address string, c certificates.Client) (string, error) {
	t.Helper()
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	if line != "hello\n" {
		return "", errors.New(line)
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", errors.New("no TLS")
	}
	return secure.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// A store of files in a folder of the test.
type folder struct{ ca, cert, key, clientCA, clientCert, clientKey string }

func newFolder(t *testing.T) folder {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	return folder{at("ca"), at("cert"), at("key"), at("client-ca"), at("client-cert"), at("client-key")}
}

func TestACertificateIsServedAndRenewedWithoutARestart(t *testing.T) {
	t.Parallel()
	f, a := newFolder(t), newAuthority(t)
	a.write(f.ca)
	a.issue(f.cert, f.key, "first", time.Now().Add(time.Hour))
	var log syncBuffer
	s, err := certificates.NewServer(certificates.Files{Cert: f.cert, Key: f.key}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, s.Config())
	if name, err := greeted(t, address, certificates.Client{CA: f.ca}); err != nil || name != "first" {
		t.Fatalf("%s, %v", name, err)
	}
	// Half a renewal, whose key is another's: the old one stays in force.
	replace(t, f.cert, []byte("-----BEGIN CERTIFICATE-----\n"))
	for !strings.Contains(log.String(), "cannot be used") {
		if name, err := greeted(t, address, certificates.Client{CA: f.ca}); err != nil || name != "first" {
			t.Fatalf("%s, %v", name, err)
		}
	}
	a.issue(f.cert, f.key, "second", time.Now().Add(time.Hour))
	for name := ""; name != "second"; {
		var err error
		if name, err = greeted(t, address, certificates.Client{CA: f.ca}); err != nil {
			t.Fatal(err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestClientsShowACertificateOfTheAuthorityAskedFor(t *testing.T) {
	t.Parallel()
	f, a, other := newFolder(t), newAuthority(t), newAuthority(t)
	a.write(f.ca)
	other.write(f.clientCA)
	a.issue(f.cert, f.key, "server", time.Now().Add(time.Hour))
	s, err := certificates.NewServer(certificates.Files{Cert: f.cert, Key: f.key, ClientCA: f.clientCA}, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, s.Config())
	if _, err := greeted(t, address, certificates.Client{CA: f.ca}); err == nil {
		t.Error("a client without a certificate was taken")
	}
	client := certificates.Client{CA: f.ca, Cert: f.clientCert, Key: f.clientKey}
	a.issue(f.clientCert, f.clientKey, "client", time.Now().Add(time.Hour))
	if _, err := greeted(t, address, client); err == nil {
		t.Error("a client of another authority was taken")
	}
	other.issue(f.clientCert, f.clientKey, "client", time.Now().Add(time.Hour))
	if _, err := greeted(t, address, client); err != nil {
		t.Errorf("a client as asked for was refused: %v", err)
	}
	// The authority of clients changes: who was of the old one is taken no more.
	a.write(f.clientCA)
	for err == nil {
		_, err = greeted(t, address, client)
	}
	// A server of an authority that the client does not know.
	if _, err := greeted(t, address, certificates.Client{CA: other.write(f.ca)}); err == nil {
		t.Error("a server of another authority was taken")
	}
}

func TestWhatCouldNotWorkIsRefused(t *testing.T) {
	t.Parallel()
	f, a := newFolder(t), newAuthority(t)
	a.issue(f.cert, f.key, "server", time.Now().Add(time.Hour))
	a.issue(f.clientCert, f.clientKey, "late", time.Now().Add(-time.Hour))
	replace(t, f.ca, []byte("no certificate"))
	for name, c := range map[string]struct {
		files certificates.Files
		says  string
	}{
		"no key":         {certificates.Files{Cert: f.cert}, "its key"},
		"no certificate": {certificates.Files{Key: f.key}, "certificate"},
		"no such file":   {certificates.Files{Cert: f.cert + "x", Key: f.key}, "no such file"},
		"another's key":  {certificates.Files{Cert: f.cert, Key: f.clientKey}, "does not match"},
		"out of date":    {certificates.Files{Cert: f.clientCert, Key: f.clientKey}, "it ended on"},
		"empty clients":  {certificates.Files{Cert: f.cert, Key: f.key, ClientCA: f.ca}, "no certificate in PEM"},
		"no clients":     {certificates.Files{Cert: f.cert, Key: f.key, ClientCA: f.clientCA}, "no such file"},
	} {
		if _, err := certificates.NewServer(c.files, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]certificates.Client{
		"no key": {Cert: f.cert}, "no certificate": {Key: f.key}, "no authorities": {CA: f.ca}, "out of date": {Cert: f.clientCert, Key: f.clientKey},
	} {
		if _, err := c.Config(); err == nil {
			t.Errorf("client with %s was taken", name)
		}
	}
}
