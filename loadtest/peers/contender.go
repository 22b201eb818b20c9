package main

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"springtide/loadtest/rig"
)

// A contender is one way to do the work. up starts its servers and processes on a
// stage that has an authority, and says where its front door is and with which key.
type contender struct {
	name string
	up   func(ctx context.Context, s *stage) (address, key string, err error)
}

func contenders() []contender {
	return []contender{{"springtide", upSpringtide}, {"asynq", upAsynq}, {"river", upRiver}}
}

// upSpringtide starts a Kafka, a Redis, a front door, and one worker process with all
// stages, or one for each.
func upSpringtide(ctx context.Context, s *stage) (address, key string, err error) {
	ports, err := rig.FreePorts(4)
	if err != nil {
		return "", "", err
	}
	kafka, redis, grpc := ports[0], ports[2], ports[3]
	broker, err := rig.Kafka(ctx, rig.KafkaConfig{
		Services: s.jars, Env: clean(), Dir: filepath.Join(s.dir, "kafka"), Own: kafka, Controller: ports[1], Heap: "512m",
	})
	if err != nil {
		return "", "", err
	}
	if err := s.start(ctx, partServers, broker); err != nil {
		return "", "", err
	}
	if err := s.startRedis(ctx, redis); err != nil {
		return "", "", err
	}
	site := filepath.Join(s.dir, "site")
	common := []string{"--kafka", kafka, "--redis", redis, "--data", site, "--admin", "", "--log-format", "json", "--partitions", strconv.Itoa(s.partitions)}
	workers := [][]string{{"project", "submit", "validate"}}
	if s.apart {
		workers = [][]string{{"project"}, {"submit"}, {"validate"}}
	}
	for _, roles := range workers {
		args := slices.Concat([]string{"work"}, roles, common)
		if slices.Contains(roles, "submit") {
			args = append(args, "--authority", bureau+"="+s.simulator+"/etax?class=B&lag=0s&processing=5s&margin=1s&timeout=10s&poll=1s")
		}
		p := &rig.Process{Name: strings.Join(roles, "-"), Path: s.binary, Args: args, Group: roles[0]}
		p.Ready = func(ctx context.Context) error {
			return p.Await(ctx, func(_ bool, joined []int) bool { return len(joined) > 0 })
		}
		if err := s.start(ctx, partProcesses, p); err != nil {
			return "", "", err
		}
	}
	if err := s.within(ctx, "kafka", func(ctx context.Context) error { // one that was just formatted may not lead all its partitions yet
		return rig.Until(ctx, func() error {
			key, err = s.springtide(ctx, "keys", "create", "--kafka", kafka, "--data", site, "--tenant", tenant, "--role", "accountant")
			return err
		})
	}); err != nil {
		return "", "", err
	}
	return grpc, key, s.start(ctx, partProcesses, &rig.Process{
		Name: "serve", Path: s.binary, Ready: rig.PortOpen(grpc),
		Args: append([]string{"serve", "--grpc", grpc, "--http", ""}, common...),
	})
}

// upAsynq starts a Redis, a front door and a worker.
func upAsynq(ctx context.Context, s *stage) (address, key string, err error) {
	ports, err := rig.FreePorts(2)
	if err != nil {
		return "", "", err
	}
	if err := s.startRedis(ctx, ports[0]); err != nil {
		return "", "", err
	}
	return ports[1], "", s.startPair(ctx, "asynq", ports[0], ports[1])
}

// upRiver starts a PostgreSQL, a front door and a worker.
func upRiver(ctx context.Context, s *stage) (address, key string, err error) {
	ports, err := rig.FreePorts(2)
	if err != nil {
		return "", "", err
	}
	_, port, err := net.SplitHostPort(ports[0])
	if err != nil {
		return "", "", err
	}
	url := "postgres://postgres@" + ports[0] + "/postgres?sslmode=disable"
	migrated := func(ctx context.Context) error { return rig.Until(ctx, func() error { return riverMigrate(ctx, url) }) }
	if err := s.start(ctx, partServers, &rig.Process{
		Name: "postgres", Path: s.script, Args: []string{"postgres", filepath.Join(s.dir, "postgres"), port}, Ready: migrated,
	}); err != nil {
		return "", "", err
	}
	return ports[1], "", s.startPair(ctx, "river", url, ports[1])
}

// startPair starts the two processes of a peer: a worker, and a front door on an address.
func (s *stage) startPair(ctx context.Context, peer, store, door string) error {
	common := []string{"--store", store, "--authority", s.simulator}
	if err := s.startPeer(ctx, peer+"-work", nil, slices.Concat(common, []string{"--concurrency", strconv.Itoa(s.workers)})...); err != nil {
		return err
	}
	return s.startPeer(ctx, peer+"-door", rig.PortOpen(door), slices.Concat(common, []string{"--listen", door})...)
}
