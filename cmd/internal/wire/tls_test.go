package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"springtide/cmd/internal/cli"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/certificates"
)

// selfSigned writes a certificate of the loopback address with its key, good for both sides.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestBothPortsSpeakTLSAndAskForCertificates(t *testing.T) {
	cert, key := selfSigned(t)
	s := startTestSite(t, 0, func(o *cli.DevOptions) {
		o.HTTP = "127.0.0.1:0"
		o.TLS = &certificates.Files{Cert: cert, Key: key, ClientCA: cert}
	})
	if login := s.login("/login"); !strings.HasPrefix(login, "https://") {
		t.Errorf("the sign-in is at %q", login)
	}
	known, err := certificates.Client{CA: cert, Cert: cert, Key: key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := certificates.Client{CA: cert}.Config()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("HTTP", func(t *testing.T) {
		for name, c := range map[string]struct {
			config *tls.Config
			url    string
			want   int
		}{
			"with a certificate": {known, "https://" + s.http + "/v1/session", http.StatusOK},
			"without":            {unknown, "https://" + s.http + "/v1/session", 0},
			"plain":              {nil, "http://" + s.http + "/v1/session", http.StatusBadRequest},
		} {
			transport := &http.Transport{TLSClientConfig: c.config, ForceAttemptHTTP2: true}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+s.token)
			resp, err := (&http.Client{Transport: transport}).Do(req)
			if (err != nil) != (c.want == 0) {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != c.want || (c.want == http.StatusOK) != (resp.Header.Get("Strict-Transport-Security") != "") {
					t.Errorf("%s: %s, %v", name, resp.Status, resp.Header)
				}
			}
			transport.CloseIdleConnections()
		}
	})
	t.Run("gRPC", func(t *testing.T) {
		for name, config := range map[string]*tls.Config{"with a certificate": known, "without": unknown} {
			conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = springtidev1.NewFilingServiceClient(conn).ListForms(s.as(t.Context()), &springtidev1.ListFormsRequest{})
			if (err == nil) != (name == "with a certificate") {
				t.Errorf("%s: %v", name, err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
