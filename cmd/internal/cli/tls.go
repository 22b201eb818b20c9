package cli

import (
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"springtide/services/certificates"
)

// tlsFlags are the TLS files of a command: those of its ports, or those it calls a port with.
type tlsFlags struct {
	cert, key, clientCA string // of a server; a client has the first two
	ca                  string
	on                  bool
}

func (s *sharedFlags) addServerTLS(f *pflag.FlagSet) {
	f.StringVar(&s.tls.cert, "tls-cert", "", "serve gRPC and HTTP over TLS with the certificate in this PEM `file`; read again when it changes")
	f.StringVar(&s.tls.key, "tls-key", "", "`file` with the private key of --tls-cert")
	f.StringVar(&s.tls.clientCA, "tls-client-ca", "", "take only clients that show a certificate of an authority in this PEM `file`, besides their key")
}

func (s *sharedFlags) addClientTLS(f *pflag.FlagSet) {
	f.BoolVar(&s.tls.on, "tls", false, "speak TLS with the front door, whose certificate an authority of the system vouches for")
	f.StringVar(&s.tls.ca, "tls-ca", "", "speak TLS; the authorities in this PEM `file` vouch for the front door's certificate")
	f.StringVar(&s.tls.cert, "tls-cert", "", "show the front door the certificate in this PEM `file`")
	f.StringVar(&s.tls.key, "tls-key", "", "`file` with the private key of --tls-cert")
}

// validate refuses what does not go together. The commands share variables, so only what this one has counts.
func (t *tlsFlags) validate(flags *pflag.FlagSet) error {
	if flags.Lookup("tls-cert") == nil {
		return nil
	}
	client := flags.Lookup("tls") != nil
	switch {
	case t.cert != "" && t.key == "":
		return usagef("--tls-cert needs --tls-key: a certificate is of no use without its private key")
	case t.key != "" && t.cert == "":
		return usagef("--tls-key needs --tls-cert: a private key is of no use without its certificate")
	case !client && t.clientCA != "" && t.cert == "":
		return usagef("--tls-client-ca needs --tls-cert and --tls-key: clients show certificates only over TLS")
	case client && t.cert != "" && !t.on && t.ca == "":
		return usagef("--tls-cert needs --tls or --tls-ca: without TLS there is nobody to show it to")
	}
	return nil
}

// server are the files of the ports; nil: plain text.
func (t *tlsFlags) server() *certificates.Files {
	if t.cert == "" {
		return nil
	}
	return &certificates.Files{Cert: t.cert, Key: t.key, ClientCA: t.clientCA}
}

// client are the credentials to call the front door with.
func (t *tlsFlags) client() (credentials.TransportCredentials, error) {
	if !t.on && t.ca == "" {
		return insecure.NewCredentials(), nil
	}
	c, err := certificates.Client{CA: t.ca, Cert: t.cert, Key: t.key}.Config()
	if err != nil {
		return nil, usagef("%v", err)
	}
	return credentials.NewTLS(c), nil
}
