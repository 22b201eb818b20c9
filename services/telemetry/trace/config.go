package trace

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Config says whether and how much is traced. It is made by [FromEnv]; the zero
// value is off.
type Config struct {
	// On: there is a collector to send to.
	On bool
	// Service, Version and Instance name the process, where OTEL_SERVICE_NAME and
	// OTEL_RESOURCE_ATTRIBUTES do not.
	Service, Version, Instance string
	// Protocol of the collector: "grpc" or "http/protobuf".
	Protocol string
	// Sampler is one of the names of OTEL_TRACES_SAMPLER, Ratio its argument.
	Sampler string
	Ratio   float64
	// Queue is how many steps wait to be sent, Batch how many go at once, Every how
	// long they wait for that at most, and Timeout bounds one try with its retries.
	Queue, Batch   int
	Every, Timeout time.Duration
}

// The protocols and samplers that are known, the usual one first.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"

	parentBasedOn    = "parentbased_always_on"
	parentBasedOff   = "parentbased_always_off"
	parentBasedRatio = "parentbased_traceidratio"
	alwaysOn         = "always_on"
	alwaysOff        = "always_off"
	ratio            = "traceidratio"
)

// FromEnv reads the standard variables of OpenTelemetry. Without an endpoint
// nothing is traced. What is not understood is an error that names the variable.
func FromEnv(env func(string) string, service, version string) (Config, error) {
	c := Config{
		Service: service, Version: version, Instance: rand.Text(),
		Protocol: protocolHTTP, Sampler: parentBasedOn, Ratio: 1,
		Queue: 8192, Batch: 512, Every: time.Second, Timeout: 10 * time.Second,
	}
	first := func(names ...string) (name, value string) {
		for _, name = range names {
			if value = env(name); value != "" {
				return name, value
			}
		}
		return name, ""
	}
	name, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return Config{}, nil
	}
	c.On = true
	if u, err := url.Parse(endpoint); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return c, fmt.Errorf("%s: want an address such as http://127.0.0.1:4318", name)
	}
	if name, v := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); v != "" {
		if c.Protocol = v; v != protocolGRPC && v != protocolHTTP {
			return c, fmt.Errorf("%s=%.40q: want %s or %s", name, v, protocolHTTP, protocolGRPC)
		}
	}
	if v := env("OTEL_TRACES_EXPORTER"); v != "" && v != "otlp" {
		return c, fmt.Errorf("OTEL_TRACES_EXPORTER=%.40q: want otlp or none", v)
	}
	if v := env("OTEL_TRACES_SAMPLER"); v != "" {
		c.Sampler = v
	}
	if v := env("OTEL_TRACES_SAMPLER_ARG"); v != "" {
		r, err := strconv.ParseFloat(v, 64)
		if err != nil || !(r >= 0 && r <= 1) {
			return c, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%.40q: want a share between 0 and 1", v)
		}
		c.Ratio = r
	}
	if _, err := samplerOf(c); err != nil {
		return c, err
	}
	return c, c.queueFromEnv(env)
}

// queueFromEnv reads the bounds of the queue.
func (c *Config) queueFromEnv(env func(string) string) error {
	const most = 1 << 20
	for name, set := range map[string]func(int){
		"OTEL_BSP_MAX_QUEUE_SIZE":        func(n int) { c.Queue = n },
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": func(n int) { c.Batch = n },
		"OTEL_BSP_SCHEDULE_DELAY":        func(n int) { c.Every = time.Duration(n) * time.Millisecond },
		"OTEL_BSP_EXPORT_TIMEOUT":        func(n int) { c.Timeout = time.Duration(n) * time.Millisecond },
	} {
		v := env(name)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("%s=%.40q: want a whole number between 1 and %d", name, v, most)
		}
		set(n)
	}
	c.Batch = min(c.Batch, c.Queue)
	return nil
}

func samplerOf(c Config) (sdk.Sampler, error) {
	switch c.Sampler {
	case parentBasedOn:
		return sdk.ParentBased(sdk.AlwaysSample()), nil
	case parentBasedOff:
		return sdk.ParentBased(sdk.NeverSample()), nil
	case parentBasedRatio:
		return sdk.ParentBased(sdk.TraceIDRatioBased(c.Ratio)), nil
	case alwaysOn:
		return sdk.AlwaysSample(), nil
	case alwaysOff:
		return sdk.NeverSample(), nil
	case ratio:
		return sdk.TraceIDRatioBased(c.Ratio), nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER=%.40q: want one of %s", c.Sampler,
			strings.Join([]string{parentBasedOn, parentBasedRatio, parentBasedOff, alwaysOn, ratio, alwaysOff}, ", "))
	}
}

// OTLP makes the exporter to a collector. Its address, headers, certificates and
// compression are those of the OTEL_EXPORTER_OTLP_ variables, which it reads itself.
// It does not connect yet.
func OTLP(ctx context.Context, cfg Config) (sdk.SpanExporter, error) {
	if cfg.Protocol == protocolGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}
