package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"springtide/cmd/internal/cli"
	"springtide/services/certificates"
	"springtide/services/eventlog"
	"springtide/services/status"
)

// openLog opens the installation's log as the settings say it is spoken to.
func openLog(ctx context.Context, o cli.Common, cfg eventlog.Config) (*eventlog.Log, error) {
	secure, err := tlsOf(o.KafkaLogin)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	cfg.Brokers, cfg.TLS, cfg.User, cfg.Password, cfg.Logger = o.Kafka, secure, o.KafkaLogin.User, o.KafkaLogin.Password, o.Logger
	if o.Installation != "" {
		cfg.Prefix = o.Installation + "."
	}
	return eventlog.Open(ctx, cfg)
}

// openView makes the view as the settings say Redis is spoken to.
func openView(o cli.Common, cfg status.Config, metrics prometheus.Registerer) (*status.View, error) {
	secure, err := tlsOf(o.RedisLogin)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	cfg.Addrs, cfg.TLS, cfg.Username, cfg.Password = o.Redis, secure, o.RedisLogin.User, o.RedisLogin.Password
	if o.Installation != "" {
		cfg.Prefix = "st-" + o.Installation
	}
	return status.New(cfg, status.Deps{Log: o.Logger, Metrics: metrics})
}

// tlsOf is nil where a server is spoken to in the clear.
func tlsOf(l cli.Login) (*tls.Config, error) {
	if !l.TLS {
		return nil, nil
	}
	return certificates.Client{CA: l.CA}.Config()
}

// logins are the settings above for a process that this one starts; in its environment,
// where other users of the machine do not see them.
func logins(o cli.Common) []string {
	var env []string
	for server, l := range map[string]cli.Login{"KAFKA": o.KafkaLogin, "REDIS": o.RedisLogin} {
		for name, value := range map[string]string{"TLS": strconv.FormatBool(l.TLS), "CA": l.CA, "USER": l.User, "PASSWORD": l.Password.Reveal()} {
			if value != "" {
				env = append(env, "SPRINGTIDE_"+server+"_"+name+"="+value)
			}
		}
	}
	return env
}
