package cli

import (
	"github.com/spf13/pflag"

	"springtide/services/telemetry/redact"
)

// A Login is how a server of ours (Kafka, Redis) is spoken to. The zero value: in the
// clear, without a name.
type Login struct {
	// TLS encrypts; CA is a PEM file of the authorities that vouch for the server, empty: the system's.
	TLS bool
	CA  string
	// User and Password; for Kafka both or none (SASL PLAIN), for Redis the user may be empty.
	User     string
	Password redact.Secret
}

// register adds the flags of a server.
func (l *Login) register(f *pflag.FlagSet, server, title string) {
	f.BoolVar(&l.TLS, server+"-tls", false, "speak TLS with "+title)
	f.StringVar(&l.CA, server+"-ca", "", "speak TLS with "+title+"; the authorities in this PEM `file` vouch for it (default: the system's)")
	f.StringVar(&l.User, server+"-user", "", "log in to "+title+" under this `name`")
	f.StringVar((*string)(&l.Password), server+"-password", "", "`password` for "+title+"; better in "+envName(server+"-password")+", where other users of the machine cannot see it")
}

// validate also settles that who names an authority means TLS.
func (l *Login) validate(server string) error {
	l.TLS = l.TLS || l.CA != ""
	switch {
	case l.User != "" && l.Password == "":
		return usagef("--%s-user needs --%s-password (or %s)", server, server, envName(server+"-password"))
	case server == "kafka" && l.Password != "" && l.User == "":
		return usagef("--kafka-password needs --kafka-user")
	}
	return nil
}
