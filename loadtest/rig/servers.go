package rig

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FreePorts finds ports of the loopback interface that nobody uses.
func FreePorts(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer l.Close() // not before all are found, so that none is found twice
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}

// A KafkaConfig describes a real broker of one node.
type KafkaConfig struct {
	// Services is the folder of `make services`, which holds the jars. Env is the broker's environment.
	Services string
	Env      []string
	// Dir holds its log and its settings.
	Dir string
	// Own is its address for the load test itself, Controller that of its controller.
	Own, Controller string
	// Listeners are further ones, by name of who uses it.
	Listeners map[string]Listener
	// Heap is the JVM's, such as "384m". Quick starts it with the quick compiler
	// only: better for a broker that starts often, worse for one that is measured.
	Heap  string
	Quick bool
}

// A Listener is an address that a broker listens on, and the one it tells its clients.
type Listener struct{ Listen, Advertised string }

// Kafka prepares a broker from the jars of `make services`.
func Kafka(ctx context.Context, cfg KafkaConfig) (*Process, error) {
	jars := filepath.Join(cfg.Services, "kafka", "libs")
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) == 0 {
		return nil, fmt.Errorf("no Kafka in %s: fetch it with `make services`, or use --servers embedded", jars)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("real Kafka needs Java 17: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "data"), 0o700); err != nil {
		return nil, err
	}
	properties, logging := filepath.Join(cfg.Dir, "server.properties"), filepath.Join(cfg.Dir, "log4j2.properties")
	if err := os.WriteFile(properties, []byte(cfg.properties()), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(logging, []byte(kafkaLogging), 0o600); err != nil {
		return nil, err
	}
	args := []string{"-Xmx" + cfg.Heap, "-XX:+UseSerialGC", "-cp", filepath.Join(jars, "*"), "-Dlog4j2.configurationFile=" + logging}
	if cfg.Quick {
		args = append([]string{"-XX:TieredStopAtLevel=1"}, args...)
	}
	format := exec.CommandContext(ctx, java, append(args, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", properties)...)
	format.Env = cfg.Env
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's folder: %w: %s", err, bytes.TrimSpace(out))
	}
	return &Process{Name: "kafka", Path: java, Args: append(args, "kafka.Kafka", properties), Ready: KafkaReady(cfg.Own)}, nil
}

// properties are those of one node, broker and controller; its log survives a kill, not a power cut.
func (cfg KafkaConfig) properties() string {
	listen, advertise := []string{"CONTROLLER://" + cfg.Controller, "OWN://" + cfg.Own}, []string{"OWN://" + cfg.Own}
	protocols := []string{"CONTROLLER:PLAINTEXT", "OWN:PLAINTEXT"}
	for _, user := range slices.Sorted(maps.Keys(cfg.Listeners)) {
		name := strings.ToUpper(user)
		listen = append(listen, name+"://"+cfg.Listeners[user].Listen)
		advertise = append(advertise, name+"://"+cfg.Listeners[user].Advertised)
		protocols = append(protocols, name+":PLAINTEXT")
	}
	return strings.Join([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + cfg.Controller,
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=OWN",
		"listeners=" + strings.Join(listen, ","),
		"advertised.listeners=" + strings.Join(advertise, ","),
		"listener.security.protocol.map=" + strings.Join(protocols, ","),
		"log.dirs=" + filepath.Join(cfg.Dir, "data"),
		"auto.create.topics.enable=false",
		"default.replication.factor=1",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		"num.network.threads=2",
		"num.io.threads=4",
		"",
	}, "\n")
}

const kafkaLogging = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`

// Redis prepares a real Redis.
func Redis(dir, own string) (*Process, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("no redis-server: install it, or use --servers embedded: %w", err)
	}
	_, port, _ := net.SplitHostPort(own) // from freePorts
	return &Process{Name: "redis", Path: path, Ready: RedisReady(own), Args: []string{
		"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--maxmemory-policy", "noeviction",
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
	}}, nil
}

// KafkaReady asks a broker for its brokers (Metadata, version 1, no topic) and
// wants one in the answer: an open port means nothing.
func KafkaReady(address string) func(context.Context) error {
	request := []byte("\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x00\x00\x00\x00")
	return func(ctx context.Context) error {
		return Until(ctx, func() error {
			return talk(ctx, address, request, func(r io.Reader) error {
				var head [12]byte
				if _, err := io.ReadFull(r, head[:]); err != nil {
					return err
				}
				if n := binary.BigEndian.Uint32(head[8:]); n != 1 {
					return fmt.Errorf("%d brokers", n)
				}
				return nil
			})
		})
	}
}

// RedisDo sends one command and wants the answer that begins so.
func RedisDo(ctx context.Context, address, command, want string) error {
	request := fmt.Sprintf("*1\r\n$%d\r\n%s\r\n", len(command), command)
	return talk(ctx, address, []byte(request), func(r io.Reader) error {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil {
			return fmt.Errorf("redis %s: %w", command, err)
		}
		if string(got) != want {
			return fmt.Errorf("redis %s: answered %q", command, got)
		}
		return nil
	})
}

// RedisReady waits until a Redis answers.
func RedisReady(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return Until(ctx, func() error { return RedisDo(ctx, address, "PING", "+PONG") })
	}
}

// PortOpen waits until something accepts connections.
func PortOpen(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return Until(ctx, func() error { return talk(ctx, address, nil, func(io.Reader) error { return nil }) })
	}
}

// talk opens a connection, says something and reads the answer, within two seconds.
func talk(ctx context.Context, address string, request []byte, read func(io.Reader) error) error {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return read(conn)
}

// Until tries again and again until it works or ctx ends.
func Until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		Sleep(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
