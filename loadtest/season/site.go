package season

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"springtide/loadtest/rig"
)

// startTimeout bounds the start: a cold JVM on a busy machine takes its time.
const startTimeout = 5 * time.Minute

// parentGrace is how long a scaler may take to end its workers: a little more than they take to drain.
const parentGrace = 40 * time.Second

// terms are what is declared about the simulated authority. Together they are what a
// straggler may take: a request that was sent may take effect until then.
const (
	terms      = "lag=0s&processing=5s&margin=1s&timeout=10s&poll=1s"
	stragglers = 16 * time.Second
)

// What a process is, as far as the costs are concerned.
const (
	product   = "product"
	server    = "server"
	authority = "authority"
)

// A member is a process that the load test started.
type member struct {
	*rig.Process
	// kind says whose costs it adds to; worker: it runs stages; group: the one it runs, if it is one alone.
	kind string
	// parent: it starts others, whose costs are its own.
	worker bool
	parent bool
	group  string
	admin  string
}

// A site is the system under test. start and close are called once each.
type site struct {
	cfg     Config
	dir     string // of what was started here; empty: nothing
	door    string
	redis   string
	keys    []Key
	sim     *rig.Simulator
	members []*member

	running sync.WaitGroup
	stop    context.CancelFunc
	failed  chan error
}

// open starts the system under test, or finds it.
func open(ctx context.Context, cfg Config, tenants []string) (*site, error) {
	s := &site{cfg: cfg, failed: make(chan error, 1)}
	if cfg.Servers == Target {
		s.door, s.keys, s.sim = cfg.Door, cfg.Keys, rig.NewSimulator(strings.TrimSuffix(cfg.Book, "/"))
		return s, nil
	}
	if err := rig.Supported(); err != nil {
		return nil, err
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "springtide-season-"); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	waiting, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not ready in time"))
	defer cancel()
	if cfg.Servers == Embedded && cfg.Scaled == 0 {
		err = s.startEmbedded(running, waiting, tenants)
	} else {
		err = s.startSplit(running, waiting, tenants)
	}
	if err != nil {
		said := s.lastWords()
		return nil, errors.Join(fmt.Errorf("start: %w%s", err, said), s.close())
	}
	return s, nil
}

// close ends everything that was started and removes its folder.
func (s *site) close() error {
	for _, m := range s.members {
		if m.parent { // it ends its own before it ends
			m.End(rig.Term, parentGrace, parentGrace)
		}
	}
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	if s.sim != nil {
		s.sim.Close()
	}
	for _, m := range s.members {
		_ = m.Log.Close() // only a log
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// run starts a process and waits until it serves.
func (s *site) run(running, waiting context.Context, m *member) error {
	log, err := os.OpenFile(filepath.Join(s.dir, m.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if m.Path == "" {
		m.Path = s.cfg.Binary
	}
	m.Env, m.Log = s.cfg.Env, log
	s.members = append(s.members, m)
	s.running.Go(func() {
		if err := m.Run(running); err != nil {
			select {
			case s.failed <- err:
			default: // the first is the cause
			}
		}
	})
	if m.Ready == nil {
		return nil
	}
	if err := m.Ready(waiting); err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	return nil
}

func (s *site) named(name string) *rig.Process {
	for _, m := range s.members {
		if m.Name == name {
			return m.Process
		}
	}
	return nil
}

// lastWords are the last lines of what ended although nobody ended it.
func (s *site) lastWords() string {
	var b strings.Builder
	for _, m := range s.members {
		for _, e := range m.Unordered() {
			fmt.Fprintf(&b, "; %s ended (%s): %s", e.Process, e.State, e.Last)
		}
	}
	return b.String()
}

func (s *site) startSim(running, waiting context.Context) error {
	ports, err := rig.FreePorts(1)
	if err != nil {
		return err
	}
	s.sim = rig.NewSimulator("http://" + ports[0])
	return s.run(running, waiting, &member{kind: authority, Process: &rig.Process{
		Name: "authority", Ready: rig.PortOpen(ports[0]), Args: []string{
			"authority-sim", "--listen", ports[0], "--data", filepath.Join(s.dir, "authority"), "--class", s.cfg.Class,
			"--latency", s.cfg.Latency, "--log-level", "warn",
		},
	}})
}

// partitions is the flag for what the run asks for; without it the product's default holds.
func (s *site) partitions() []string {
	if s.cfg.Partitions == 0 {
		return nil
	}
	return []string{"--partitions", strconv.Itoa(s.cfg.Partitions)}
}

func (s *site) authorities() []string {
	return []string{
		"--authority", "cn=" + s.sim.URL + "/etax?class=" + s.cfg.Class + "&" + terms,
		"--authority", "gb.hmrc=" + s.sim.URL + "?" + terms + "&maxwait=10m",
	}
}

// startEmbedded starts the simulated authority and a process with all the rest.
func (s *site) startEmbedded(running, waiting context.Context, tenants []string) error {
	if err := s.startSim(running, waiting); err != nil {
		return err
	}
	ports, err := rig.FreePorts(2)
	if err != nil {
		return err
	}
	s.door = ports[0]
	data := filepath.Join(s.dir, "dev")
	dev := &member{kind: product, worker: true, admin: ports[1], Process: &rig.Process{
		Name: "dev", Ready: rig.PortOpen(s.door),
		Args: append([]string{"dev", "--data", data, "--grpc", s.door, "--http", "", "--admin", ports[1], "--log-level", "warn"}, slices.Concat(s.authorities(), s.partitions())...),
	}}
	if err := s.run(running, waiting, dev); err != nil {
		return err
	}
	var kafka string
	err = rig.Until(waiting, func() error {
		kafka, err = brokerOf(filepath.Join(s.dir, "dev.log"))
		return err
	})
	if err != nil {
		return err
	}
	s.keys, err = s.cfg.MakeKeys(waiting, kafka, filepath.Join(data, "pepper"), tenants)
	return err
}

var brokerPattern = regexp.MustCompile(`springtide is ready: .* kafka (\S+)`)

// brokerOf reads the address of the embedded broker from the line that says it is ready.
func brokerOf(log string) (string, error) {
	file, err := os.Open(log)
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if found := brokerPattern.FindStringSubmatch(lines.Text()); found != nil {
			return found[1], nil
		}
	}
	return "", errors.New("the embedded stack is not ready")
}

// startSplit starts Kafka, Redis, the simulated authority and a process for each role.
func (s *site) startSplit(running, waiting context.Context, tenants []string) error {
	ports, err := rig.FreePorts(4)
	if err != nil {
		return err
	}
	kafka := ports[0]
	s.redis, s.door = ports[2], ports[3]
	servers := s.builtIn(kafka)
	if s.cfg.Servers == Real {
		if servers, err = s.realServers(waiting, kafka, ports[1]); err != nil {
			return err
		}
	}
	for _, p := range servers {
		if err := s.run(running, waiting, &member{kind: server, Process: p}); err != nil {
			return err
		}
	}
	if err := s.startSim(running, waiting); err != nil {
		return err
	}
	return s.startRoles(running, waiting, kafka, tenants)
}

func (s *site) realServers(waiting context.Context, kafka, controller string) ([]*rig.Process, error) {
	broker, err := rig.Kafka(waiting, rig.KafkaConfig{
		Services: s.cfg.Services, Env: s.cfg.Env, Dir: filepath.Join(s.dir, "kafka"), Own: kafka, Controller: controller, Heap: "1g",
	})
	if err != nil {
		return nil, err
	}
	redisDir := filepath.Join(s.dir, "redis")
	if err := os.MkdirAll(redisDir, 0o700); err != nil {
		return nil, err
	}
	view, err := rig.Redis(redisDir, s.redis)
	return []*rig.Process{broker, view}, err
}

// builtIn are the broker and the Redis of the binary, as processes of their own.
func (s *site) builtIn(kafka string) []*rig.Process {
	return []*rig.Process{
		{Name: "kafka", Ready: rig.KafkaReady(kafka), Args: []string{"embedded", "kafka", "--listen", kafka, "--data", filepath.Join(s.dir, "kafka")}},
		{Name: "redis", Ready: rig.RedisReady(s.redis), Args: []string{"embedded", "redis", "--listen", s.redis}},
	}
}

// startRoles starts the workers, which make the topics; then come the keys, and the door that knows them.
func (s *site) startRoles(running, waiting context.Context, kafka string, tenants []string) error {
	common := func(name, admin string) []string {
		return append([]string{"--kafka", kafka, "--redis", s.redis, "--data", filepath.Join(s.dir, name), "--admin", admin, "--log-format", "json"}, s.partitions()...)
	}
	stages, workers := [][]string{{"project"}, {"submit"}, {"validate"}}, s.cfg.Workers
	switch {
	case s.cfg.Scaled > 0:
		stages, workers = stages[:1], 1 // the scaler starts the others
	case s.cfg.Together:
		stages = [][]string{slices.Concat(stages...)}
	}
	for i := range workers {
		for _, roles := range stages {
			ports, err := rig.FreePorts(1)
			if err != nil {
				return err
			}
			m := &member{kind: product, worker: true, admin: ports[0]}
			if len(roles) == 1 {
				m.group = roles[0]
			}
			name := fmt.Sprintf("%s%d", cmp.Or(m.group, "worker"), i+1)
			args := slices.Concat([]string{"work"}, roles, common(name, ports[0]))
			if slices.Contains(roles, "submit") {
				args = append(args, s.authorities()...)
			}
			m.Process = &rig.Process{Name: name, Args: args, Group: roles[0]}
			if err := s.run(running, waiting, m); err != nil {
				return err
			}
		}
	}
	for _, m := range s.members {
		if m.Group == "" {
			continue
		}
		if err := m.Await(waiting, func(_ bool, joined []int) bool { return len(joined) > 0 }); err != nil {
			return fmt.Errorf("%s got no partition: %w", m.Name, err)
		}
	}
	pepper := filepath.Join(s.dir, "pepper")
	if err := rig.Until(waiting, func() (err error) { // a broker that was just formatted may not lead all its partitions yet
		s.keys, err = s.cfg.MakeKeys(waiting, kafka, pepper, tenants)
		return err
	}); err != nil {
		return err
	}
	ports, err := rig.FreePorts(2)
	if err != nil {
		return err
	}
	if s.cfg.Scaled > 0 {
		args := append([]string{"scale", "--as", "processes", "--max", strconv.Itoa(s.cfg.Scaled)}, common("scale1", ports[1])...)
		scaler := &rig.Process{Name: "scale1", Ready: rig.PortOpen(ports[1]), Args: append(args, s.authorities()...)}
		if err := s.run(running, waiting, &member{kind: product, parent: true, admin: ports[1], Process: scaler}); err != nil {
			return err
		}
	}
	args := append([]string{"serve", "--grpc", s.door, "--http", "", "--pepper", pepper}, common("door1", ports[0])...)
	return s.run(running, waiting, &member{kind: product, admin: ports[0], Process: &rig.Process{Name: "door1", Ready: rig.PortOpen(s.door), Args: args}})
}
