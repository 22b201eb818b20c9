package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// freePorts finds ports of the loopback interface that nobody uses.
func freePorts(n int) ([]string, error) {
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

// realKafka prepares a broker from the jars of `make services`. Each process of
// ours has a listener of its own, advertised as the process's end of its wire.
func realKafka(ctx context.Context, cfg Config, dir, own, controller string, listeners, advertised map[string]string) (*process, error) {
	jars := filepath.Join(cfg.Services, "kafka", "libs")
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) == 0 {
		return nil, fmt.Errorf("no Kafka in %s: fetch it with `make services`, or use --servers embedded", jars)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("real Kafka needs Java 17: %w", err)
	}
	for _, sub := range []string{"data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	properties, logging := filepath.Join(dir, "server.properties"), filepath.Join(dir, "log4j2.properties")
	if err := os.WriteFile(properties, []byte(kafkaProperties(dir, own, controller, listeners, advertised)), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(logging, []byte(kafkaLogging), 0o600); err != nil {
		return nil, err
	}
	// A broker that starts often is better off with the quick compiler only.
	args := []string{"-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(jars, "*"), "-Dlog4j2.configurationFile=" + logging}
	format := exec.CommandContext(ctx, java, append(args, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", properties)...)
	format.Env = cfg.Env
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's folder: %w: %s", err, bytes.TrimSpace(out))
	}
	return &process{name: "kafka", path: java, args: append(args, "kafka.Kafka", properties)}, nil
}

// kafkaProperties is one node, broker and controller; its log survives a kill, not a power cut.
func kafkaProperties(dir, own, controller string, listeners, advertised map[string]string) string {
	listen, advertise := []string{"CONTROLLER://" + controller, "OWN://" + own}, []string{"OWN://" + own}
	protocols := []string{"CONTROLLER:PLAINTEXT", "OWN:PLAINTEXT"}
	for _, m := range members() {
		name := strings.ToUpper(m)
		listen = append(listen, name+"://"+listeners[m])
		advertise = append(advertise, name+"://"+advertised[m])
		protocols = append(protocols, name+":PLAINTEXT")
	}
	return strings.Join([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + controller,
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=OWN",
		"listeners=" + strings.Join(listen, ","),
		"advertised.listeners=" + strings.Join(advertise, ","),
		"listener.security.protocol.map=" + strings.Join(protocols, ","),
		"log.dirs=" + filepath.Join(dir, "data"),
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

func realRedis(dir, own string) (*process, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("no redis-server: install it, or use --servers embedded: %w", err)
	}
	_, port, _ := net.SplitHostPort(own) // from freePorts
	return &process{name: "redis", path: path, args: []string{
		"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--maxmemory-policy", "noeviction",
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
	}}, nil
}

// kafkaReady asks a broker for its brokers (Metadata, version 1, no topic) and
// wants one in the answer: an open port means nothing.
func kafkaReady(address string) func(context.Context) error {
	request := []byte("\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\x00\x00\x00\x00")
	return func(ctx context.Context) error {
		return until(ctx, func() error {
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

// redisDo sends one command and wants the answer that begins so.
func redisDo(ctx context.Context, address, command, want string) error {
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

func redisReady(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, func() error { return redisDo(ctx, address, "PING", "+PONG") })
	}
}

// portOpen waits until something accepts connections.
func portOpen(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, func() error { return talk(ctx, address, nil, func(io.Reader) error { return nil }) })
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

// until tries again and again until it works or ctx ends.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		sleep(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}
