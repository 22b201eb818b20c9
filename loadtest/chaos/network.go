package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// The links of a process.
const (
	linkKafka     = "kafka"
	linkRedis     = "redis"
	linkAuthority = "authority"
)

// The ways to spoil a link.
const (
	modeSlow   = "slow"   // every packet later, by 0.1 to 0.7 s
	modeThin   = "thin"   // 16 KB/s
	modeSliced = "sliced" // in pieces of a few bytes
	modeHold   = "hold"   // nothing passes; broken at the end
	modeDeaf   = "deaf"   // requests pass, answers do not; broken at the end
	modeDown   = "down"   // connections are broken and refused
)

func networkModes() []string {
	return []string{modeSlow, modeThin, modeSliced, modeHold, modeDeaf, modeDown}
}

// network is the wires between the processes. A link that is spoilt is used by one caller at a time.
type network struct {
	server  *toxiproxy.ApiServer
	proxies map[string]*toxiproxy.Proxy
}

func newNetwork() *network {
	return &network{
		server:  toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		proxies: map[string]*toxiproxy.Proxy{},
	}
}

// wire lays a link of a process; the process uses listen.
func (n *network) wire(process, link, listen, upstream string) error {
	name := process + "/" + link
	p := toxiproxy.NewProxy(n.server, name, listen, upstream)
	if err := p.Start(); err != nil {
		return fmt.Errorf("network %s: %w", name, err)
	}
	n.proxies[name] = p
	return nil
}

// toxic is the library's own description of a disturbance.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]any `json:"attributes"`
}

func toxicsOf(mode string) []toxic {
	var t toxic
	switch mode {
	case modeSlow:
		t.Type, t.Attributes = "latency", map[string]any{"latency": 400, "jitter": 300}
	case modeThin:
		t.Type, t.Attributes = "bandwidth", map[string]any{"rate": 16}
	case modeSliced:
		t.Type, t.Attributes = "slicer", map[string]any{"average_size": 32, "size_variation": 16, "delay": 50}
	case modeHold, modeDeaf:
		t.Type, t.Attributes = "timeout", map[string]any{"timeout": 0}
	default:
		return nil
	}
	up, down := t, t
	up.Name, up.Stream = "up", "upstream"
	down.Name, down.Stream = "down", "downstream"
	if mode == modeDeaf {
		return []toxic{down}
	}
	return []toxic{up, down}
}

// spoil begins a disturbance and returns what ends it.
func (n *network) spoil(process, link, mode string) (heal func(context.Context) error, err error) {
	p, ok := n.proxies[process+"/"+link]
	if !ok {
		return nil, fmt.Errorf("no link %s/%s", process, link)
	}
	if mode == modeDown {
		p.Stop()
		return func(context.Context) error { return p.Start() }, nil
	}
	for _, t := range toxicsOf(mode) {
		text, err := json.Marshal(t)
		if err == nil {
			_, err = p.Toxics.AddToxicJson(bytes.NewReader(text))
		}
		if err != nil {
			return nil, fmt.Errorf("network %s/%s: %w", process, link, err)
		}
	}
	return func(ctx context.Context) error {
		p.Toxics.ResetToxics(ctx)
		return nil
	}, nil
}

// close takes all wires down.
func (n *network) close(ctx context.Context) {
	for _, p := range n.proxies {
		p.Toxics.ResetToxics(ctx)
		p.Stop()
	}
}
