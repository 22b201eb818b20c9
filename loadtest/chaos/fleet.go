package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"springtide/loadtest/rig"
	springtidev1 "springtide/proto/springtide/v1"
)

// tenant is whose filings are clicked.
const tenant = "chaos"

// A fleet is everything that runs, and the wires between.
type fleet struct {
	cfg        Config
	dir        string
	processes  map[string]*rig.Process
	simulators map[string]*simulator
	network    *network
	// doors are the gRPC addresses of the front doors.
	doors        []string
	kafka, redis string
	token        string
	// bureaus are the codes that the sample's returns go to.
	bureaus []string

	running sync.WaitGroup
	stop    context.CancelFunc
	failed  chan error
}

// startTimeout bounds each wait of the start: a cold JVM on a busy machine takes its time.
const startTimeout = 2 * time.Minute

// newFleet prepares everything; start starts it.
func newFleet(ctx context.Context, cfg Config, dir string, returns []*springtidev1.Return) (*fleet, error) {
	f := &fleet{
		cfg: cfg, dir: dir, processes: map[string]*rig.Process{}, simulators: map[string]*simulator{},
		network: newNetwork(), failed: make(chan error, 1),
	}
	for _, r := range returns {
		if a := r.GetAuthority(); strings.HasPrefix(a, "cn.") && !slices.Contains(f.bureaus, a) {
			f.bureaus = append(f.bureaus, a)
		}
	}
	slices.Sort(f.bureaus)
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		return nil, err
	}
	err := f.prepareServers(ctx)
	if err == nil {
		err = f.prepareSimulators()
	}
	if err == nil {
		err = f.prepareMembers()
	}
	if err != nil {
		f.network.close(ctx)
		return nil, err
	}
	return f, nil
}

// add completes a process and makes it known.
func (f *fleet) add(p *rig.Process) error {
	log, err := os.OpenFile(filepath.Join(f.dir, "log", p.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if p.Path == "" {
		p.Path = f.cfg.Binary
	}
	p.Env, p.Log = f.cfg.Env, log
	f.processes[p.Name] = p
	return nil
}

// prepareServers prepares broker and Redis, and the wires to them.
func (f *fleet) prepareServers(ctx context.Context) error {
	ports, err := rig.FreePorts(3 + 3*len(members()))
	if err != nil {
		return err
	}
	f.kafka, f.redis = ports[0], ports[1]
	controller, ports := ports[2], ports[3:]
	listeners := map[string]rig.Listener{}
	for i, m := range members() {
		listeners[m] = rig.Listener{Listen: ports[3*i], Advertised: ports[3*i+1]}
		if err := f.network.wire(m, linkRedis, ports[3*i+2], f.redis); err != nil {
			return err
		}
		if f.cfg.Servers == Real {
			if err := f.network.wire(m, linkKafka, listeners[m].Advertised, listeners[m].Listen); err != nil {
				return err
			}
		}
	}
	kafkaDir, redisDir := filepath.Join(f.dir, "kafka"), filepath.Join(f.dir, "redis")
	if err := errors.Join(os.MkdirAll(kafkaDir, 0o700), os.MkdirAll(redisDir, 0o700)); err != nil {
		return err
	}
	kafka := &rig.Process{Name: "kafka", Ready: rig.KafkaReady(f.kafka), Args: []string{"embedded", "kafka", "--listen", f.kafka, "--data", kafkaDir}}
	redis := &rig.Process{Name: "redis", Ready: rig.RedisReady(f.redis), Args: []string{"embedded", "redis", "--listen", f.redis}}
	if f.cfg.Servers == Real {
		if kafka, err = rig.Kafka(ctx, rig.KafkaConfig{
			Services: f.cfg.Services, Env: f.cfg.Env, Dir: kafkaDir, Own: f.kafka, Controller: controller, Listeners: listeners,
			Heap: "384m", Quick: true,
		}); err != nil {
			return err
		}
		if redis, err = rig.Redis(redisDir, f.redis); err != nil {
			return err
		}
	}
	return errors.Join(f.add(kafka), f.add(redis))
}

// simulatorName is the process of a class.
func simulatorName(class string) string { return "authority" + class }

func (f *fleet) prepareSimulators() error {
	classes := f.cfg.classes()
	ports, err := rig.FreePorts(len(classes))
	if err != nil {
		return err
	}
	for i, class := range classes {
		name := simulatorName(class)
		s := newSimulator("http://" + ports[i])
		f.simulators[name] = s
		if err := f.add(&rig.Process{
			Name: name, Ready: rig.PortOpen(ports[i]),
			Args: []string{
				"authority-sim", "--listen", ports[i], "--data", filepath.Join(f.dir, name),
				"--class", class, "--latency", "20ms~150ms", "--lag", "1s", "--log-format", "json",
			},
			Started: func(ctx context.Context) {
				if err := s.again(ctx); err != nil && ctx.Err() == nil {
					f.cfg.Logger.Warn("faults not set again", "process", name, "error", err)
				}
			},
		}); err != nil {
			return err
		}
	}
	return nil
}

// prepareMembers prepares the processes of ours.
func (f *fleet) prepareMembers() error {
	ports, err := rig.FreePorts(len(doors()))
	if err != nil {
		return err
	}
	f.doors = ports
	for i, m := range members() {
		kafka := f.kafka
		if f.cfg.Servers == Real {
			kafka = f.network.proxies[m+"/"+linkKafka].Listen
		}
		args := []string{
			"--kafka", kafka, "--redis", f.network.proxies[m+"/"+linkRedis].Listen,
			"--data", filepath.Join(f.dir, m), "--log-format", "json",
		}
		p := &rig.Process{Name: m}
		switch role := strings.TrimRight(m, "0123456789"); role {
		case "door":
			p.Args = append([]string{"serve", "--grpc", ports[i], "--http", "", "--admin", "", "--pepper", f.pepper()}, args...)
			p.Ready = rig.PortOpen(ports[i])
		case "submit":
			authorities, err := f.authorities(m)
			if err != nil {
				return err
			}
			p.Args, p.Group = slices.Concat([]string{"work", role}, args, authorities), role
		default:
			p.Args, p.Group = append([]string{"work", role}, args...), role
		}
		if err := f.add(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) pepper() string { return filepath.Join(f.dir, "pepper") }

// authorities are the flags of a submitter. It reaches each simulator by one wire.
func (f *fleet) authorities(m string) ([]string, error) {
	classes := f.cfg.classes()
	ports, err := rig.FreePorts(len(classes))
	if err != nil {
		return nil, err
	}
	var flags []string
	route := func(name, base, path, options string) {
		flags = append(flags, "--authority", name+"=http://"+base+path+"?"+options+terms)
	}
	for i, class := range classes {
		upstream := strings.TrimPrefix(f.simulators[simulatorName(class)].URL, "http://")
		link := linkAuthority
		if i > 0 {
			link += class // only the first can be spoilt by name; all are spoilt together
		}
		if err := f.network.wire(m, link, ports[i], upstream); err != nil {
			return nil, err
		}
		for n, bureau := range f.bureaus {
			if n%len(classes) == i {
				route(bureau, ports[i], "/etax", "class="+class+"&")
			}
		}
	}
	route("gb.hmrc", ports[0], "", "")
	return flags, nil
}

// start starts everything in order and waits until it works.
func (f *fleet) start(ctx context.Context) error {
	ctx, f.stop = context.WithCancel(ctx)
	waiting, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not ready in time"))
	defer cancel()
	run := func(names ...string) error {
		for _, name := range names {
			p := f.processes[name]
			f.running.Go(func() {
				if err := p.Run(ctx); err != nil {
					select {
					case f.failed <- err:
					default: // the first is the cause
					}
				}
			})
		}
		for _, name := range names {
			p := f.processes[name]
			if p.Ready == nil {
				continue
			}
			if err := p.Ready(waiting); err != nil {
				return fmt.Errorf("%s does not start: %w", name, err)
			}
		}
		return nil
	}
	if err := run("kafka", "redis"); err != nil {
		return err
	}
	for name := range f.simulators {
		if err := run(name); err != nil {
			return err
		}
	}
	workers := slices.Concat(validators(), submitters(), projectors())
	if err := run(workers...); err != nil {
		return err
	}
	for _, m := range workers {
		if err := f.processes[m].Await(waiting, func(_ bool, joined []int) bool { return len(joined) > 0 }); err != nil {
			return fmt.Errorf("%s got no partition: %w", m, err)
		}
	}
	if err := f.makeKey(waiting); err != nil { // the workers made the topics, and the doors know it when they open
		return err
	}
	return run(doors()...)
}

// makeKey makes the clients' key. A broker that was just formatted may not lead all
// its partitions yet; a key too many does no harm.
func (f *fleet) makeKey(ctx context.Context) error {
	return rig.Until(ctx, func() error { return f.tryKey(ctx) })
}

func (f *fleet) tryKey(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, f.cfg.Binary, "keys", "create", "--kafka", f.kafka, "--pepper", f.pepper(),
		"--tenant", tenant, "--role", "accountant", "--log-level", "warn")
	cmd.Env = f.cfg.Env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("keys create: %w: %s", err, strings.TrimSpace(said.String()))
	}
	f.token = strings.TrimSpace(string(out))
	return nil
}

// heal wakes, reconnects and calms everything, and waits until all processes run.
func (f *fleet) heal(ctx context.Context) error {
	for _, p := range f.processes {
		p.Signal(rig.Cont)
	}
	var errs []error
	for name, s := range f.simulators {
		err := rig.Until(ctx, func() error { return s.change(ctx, func(active map[string]bool) { clear(active) }) })
		if err != nil {
			errs = append(errs, fmt.Errorf("calm %s: %w", name, err))
		}
	}
	for _, p := range f.processes {
		if err := p.Await(ctx, rig.IsRunning); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// close kills everything that runs and waits until it is gone.
func (f *fleet) close(ctx context.Context) {
	if f.stop != nil {
		f.stop()
	}
	f.running.Wait()
	f.network.close(ctx)
	for _, p := range f.processes {
		_ = p.Log.Close() // only a log
	}
	for _, s := range f.simulators {
		s.Close()
	}
}

// exits are the ends that nobody ordered, in order of time.
func (f *fleet) exits() []rig.Exit {
	var all []rig.Exit
	for _, p := range f.processes {
		all = append(all, p.Unordered()...)
	}
	slices.SortFunc(all, func(a, b rig.Exit) int { return a.At.Compare(b.At) })
	return all
}
