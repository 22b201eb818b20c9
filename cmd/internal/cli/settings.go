package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"springtide/cmd/internal/defaults"
	"springtide/services/oidc"
	"springtide/services/telemetry"
	"springtide/services/telemetry/trace"
)

// envPrefix starts the name of every setting in the environment.
const envPrefix = "SPRINGTIDE_"

// sharedFlags are the flags that mean the same on every command that has them.
type sharedFlags struct {
	config, output, lang, logLevel, logFormat string

	kafka, redis, authorities            []string
	kafkaLogin, redisLogin               Login
	grpc, http, admin, data, pepper, key string
	// replication of topics that are not there yet; 0: the default.
	replication int
	// installation is part of all names in Kafka and Redis; may be empty.
	installation string
	// deadline stands for the tax calendar's, as RFC 3339; empty: the calendar's.
	deadline string
	tls      tlsFlags
	oidc     oidc.Config

	privateHooks bool
}

// register adds the flags that every command has.
func (s *sharedFlags) register(root *cobra.Command) {
	f := root.PersistentFlags()
	s.output, s.logLevel, s.logFormat = "table", "info", "text"
	f.StringVar(&s.config, "config", "", "YAML `file` of settings, named as the flags are")
	f.VarP(&choice{&s.output, []string{"table", "json"}}, "output", "o", "how results are printed")
	f.Var(&choice{&s.lang, []string{"zh", "en"}}, "lang", "language of results (default: that of LANG)")
	f.Var(&choice{&s.logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "least level that is logged")
	f.Var(&choice{&s.logFormat, []string{"text", "json"}}, "log-format", "how logs are written")
}

func (s *sharedFlags) addKafka(f *pflag.FlagSet) {
	f.StringSliceVar(&s.kafka, "kafka", nil, "addresses of Kafka brokers, `HOST:PORT[,...]`")
	s.kafkaLogin.register(f, "kafka", "Kafka")
	s.addInstallation(f)
}

// addInstallation is for whatever keeps something in Kafka or Redis.
func (s *sharedFlags) addInstallation(f *pflag.FlagSet) {
	if f.Lookup("installation") == nil {
		f.StringVar(&s.installation, "installation", "", "`NAME` that keeps this installation apart from others on the same Kafka and Redis; the same for all of its processes (default: none)")
	}
}

// addReplication is for the commands that create topics. All of them have it, as
// whoever starts first creates them.
func (s *sharedFlags) addReplication(f *pflag.FlagSet) {
	f.IntVar(&s.replication, "replication", 0, "replicas of topics that are not there yet; 3 also sets min.insync.replicas=2 (0: one, which is for tests)")
}

func (s *sharedFlags) addRedis(f *pflag.FlagSet) {
	f.StringSliceVar(&s.redis, "redis", nil, "addresses of Redis, `HOST:PORT[,...]`")
	s.redisLogin.register(f, "redis", "Redis")
	s.addInstallation(f)
}

func (s *sharedFlags) addAuthorities(f *pflag.FlagSet) {
	f.StringSliceVar(&s.authorities, "authority", nil, "where an authority is reached, `NAME=URL`; may be repeated")
}

// addServers adds the addresses a process listens on; port 0 is any free one.
func (s *sharedFlags) addServers(f *pflag.FlagSet, grpc, http, admin string) {
	f.StringVar(&s.grpc, "grpc", grpc, "serve gRPC on this `HOST:PORT`")
	f.StringVar(&s.http, "http", http, "serve REST and the web pages on this `HOST:PORT`; empty: not served")
	f.StringVar(&s.deadline, "deadline", "", "judge the overview by this `TIME` instead of the tax calendar's, such as 2026-07-20T00:00:00+08:00")
	s.addAdmin(f, admin)
}

func (s *sharedFlags) addAdmin(f *pflag.FlagSet, value string) {
	f.StringVar(&s.admin, "admin", value, "serve health, metrics and profiles on this `HOST:PORT`; empty: not served")
}

func (s *sharedFlags) addData(f *pflag.FlagSet, value, usage string) {
	f.StringVar(&s.data, "data", value, usage)
}

func (s *sharedFlags) addWebhooks(f *pflag.FlagSet) {
	f.BoolVar(&s.privateHooks, "webhooks-allow-private", false, "let webhooks lead to addresses inside your own network and over plain http; for development")
}

func (s *sharedFlags) addPepper(f *pflag.FlagSet) {
	f.StringVar(&s.pepper, "pepper", "", "`file` of the secret that API keys are hashed with, one for all processes (default: pepper in --data)")
}

// addClient adds what a command that asks a front door needs.
func (s *sharedFlags) addClient(f *pflag.FlagSet) {
	f.StringVar(&s.grpc, "grpc", defaults.GRPC, "where the front door is, `HOST:PORT`")
	s.addClientTLS(f)
	f.StringVar(&s.key, "key", "", "API `key`; better in SPRINGTIDE_KEY, where other users of the machine cannot see it")
}

// prepare runs before every command: it settles all flags and what follows from them.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := applyEnv(cmd.Flags(), a.env); err != nil {
		return err
	}
	if a.shared.config != "" {
		if err := applyFile(cmd, a.shared.config); err != nil {
			return err
		}
	}
	a.shared.settle(cmd.Flags())
	if err := a.readTrace(cmd); err != nil {
		return err
	}
	a.ui.JSON = a.shared.output == "json"
	if a.shared.lang != "" {
		a.ui.Lang = Lang(a.shared.lang)
	}
	return a.shared.validate(cmd.Flags())
}

// settle gives what was not set the default of this very command: the commands
// share variables, and each has its own default for an address or a directory.
func (s *sharedFlags) settle(flags *pflag.FlagSet) {
	for name, value := range map[string]*string{"grpc": &s.grpc, "http": &s.http, "admin": &s.admin, "data": &s.data} {
		if f := flags.Lookup(name); f == nil {
			*value = ""
		} else if !f.Changed {
			*value = f.DefValue
		}
	}
}

// applyEnv gives every flag that is not on the command line its value from the environment.
func applyEnv(flags *pflag.FlagSet, env func(string) string) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		value := env(name)
		if value == "" || f.Changed || f.Name == "help" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, usagef("%s=%s: %s", name, quoteSetting(f.Name, value), complaint(f, err)))
		}
	})
	return errors.Join(errs...)
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// quoteSetting keeps secrets out of messages.
func quoteSetting(flag, value string) string {
	if flag == "key" || strings.HasSuffix(flag, "-password") {
		return "..."
	}
	return fmt.Sprintf("%q", clip(value))
}

// applyFile gives every flag that is still unset its value from a YAML file. A
// file may serve several commands, so a name another command knows is fine.
func applyFile(cmd *cobra.Command, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return usagef("--config: %v", err)
	}
	var settings map[string]any
	if err := yaml.Unmarshal(raw, &settings); err != nil {
		return usagef("--config %s: %v", path, err)
	}
	known := allFlags(cmd.Root())
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !known[name] {
			text := fmt.Sprintf("--config %s: there is no setting %q", path, clip(name))
			if near := nearest(name, slices.Collect(maps.Keys(known))); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			}
			return &usageError{text: text}
		}
		f := cmd.Flags().Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		value, err := settingText(settings[name])
		if err != nil {
			return usagef("--config %s: %s: %v", path, name, err)
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			return usagef("--config %s: %s: %s: %s", path, name, quoteSetting(name, value), complaint(f, err))
		}
	}
	return nil
}

// settingText writes a YAML value as it would stand on a command line.
func settingText(v any) (string, error) {
	switch v := v.(type) {
	case string, bool, int, float64:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			s, err := settingText(item)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	default:
		return "", errors.New("must be a single value or a list of them")
	}
}

// allFlags are the names of the flags of every command.
func allFlags(cmd *cobra.Command) map[string]bool {
	names := make(map[string]bool)
	add := func(f *pflag.Flag) { names[f.Name] = f.Name != "help" && f.Name != "config" }
	cmd.PersistentFlags().VisitAll(add)
	cmd.Flags().VisitAll(add)
	for _, c := range cmd.Commands() {
		maps.Copy(names, allFlags(c))
	}
	maps.DeleteFunc(names, func(_ string, known bool) bool { return !known })
	return names
}

// validate checks the shared settings a command has.
func (s *sharedFlags) validate(flags *pflag.FlagSet) error {
	for name, addresses := range map[string][]string{"kafka": s.kafka, "redis": s.redis} {
		for _, addr := range addresses {
			if err := checkAddress(name, addr); err != nil {
				return err
			}
		}
	}
	for name, addr := range map[string]string{"grpc": s.grpc, "http": s.http, "admin": s.admin} {
		if flags.Lookup(name) == nil || (addr == "" && name != "grpc") {
			continue // empty: not served
		}
		if err := checkAddress(name, addr); err != nil {
			return err
		}
	}
	if s.replication < 0 || s.replication > 100 {
		return usagef("--replication %d: must be 0 to 100", s.replication)
	}
	if _, err := time.Parse(time.RFC3339, s.deadline); s.deadline != "" && err != nil {
		return usagef("--deadline %q: want a time such as 2026-07-20T00:00:00+08:00", s.deadline)
	}
	if !installationName.MatchString(s.installation) {
		return usagef("--installation: %q is no name; letters, digits and dashes, at most 32", clip(s.installation))
	}
	if err := errors.Join(s.tls.validate(flags), s.validateOIDC(flags), s.kafkaLogin.validate("kafka"), s.redisLogin.validate("redis")); err != nil {
		return err
	}
	_, err := s.parseAuthorities()
	return err
}

var installationName = regexp.MustCompile(`^[A-Za-z0-9-]{0,32}$`)

func checkAddress(flag, addr string) error {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return usagef("--%s: %q is not HOST:PORT, such as %s", flag, clip(addr), defaults.GRPC)
	}
	return nil
}

// parseAuthorities reads NAME=URL.
func (s *sharedFlags) parseAuthorities() ([]Authority, error) {
	var all []Authority
	for _, text := range s.authorities {
		name, address, ok := strings.Cut(text, "=")
		u, err := url.Parse(address)
		if !ok || name == "" || err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, usagef("--authority: %q is not NAME=URL, such as cn.11=http://%s", clip(text), defaults.Sim)
		}
		if slices.ContainsFunc(all, func(a Authority) bool { return a.Name == name }) {
			return nil, usagef("--authority: %s is given twice", clip(name))
		}
		all = append(all, Authority{Name: name, URL: address})
	}
	return all, nil
}

// common collects the shared settings for a function in Deps.
func (a *app) common(name string) Common {
	s := &a.shared
	authorities, _ := s.parseAuthorities()              // checked by prepare
	deadline, _ := time.Parse(time.RFC3339, s.deadline) // so is this; empty gives zero
	return Common{
		Installation: s.installation, Kafka: s.kafka, Redis: s.redis, KafkaLogin: s.kafkaLogin, RedisLogin: s.redisLogin, Authorities: authorities,
		Replication: s.replication, GRPC: s.grpc, HTTP: s.http, Admin: s.admin, Data: s.data, Pepper: s.pepper, Deadline: deadline,
		Trace: a.trace, Logger: a.logger().With("command", name), UI: a.ui,
		TLS: s.tls.server(), OIDC: s.provider(), PrivateWebhooks: s.privateHooks,
	}
}

// readTrace reads the variables of OpenTelemetry for a command that runs a role.
func (a *app) readTrace(cmd *cobra.Command) (err error) {
	if cmd.Flags().Lookup("admin") == nil {
		return nil
	}
	a.trace, err = trace.FromEnv(a.env, "springtide-"+cmd.Name(), versionOf(debug.ReadBuildInfo()).Version)
	if err != nil {
		return &usageError{text: err.Error()}
	}
	return nil
}

func (a *app) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.shared.logLevel)) // one of the four names, checked by the flag
	options := &slog.HandlerOptions{Level: level}
	if a.shared.logFormat == "json" {
		return slog.New(telemetry.LogHandler(slog.NewJSONHandler(a.streams.Err, options)))
	}
	return slog.New(telemetry.LogHandler(slog.NewTextHandler(a.streams.Err, options)))
}

// needs refuses to go on without a setting that has no default.
func needs(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := cmd.Flags().Lookup(name)
		if !f.Changed {
			kind, _ := pflag.UnquoteUsage(f)
			return usagef("%s needs --%s %s (or %s)", cmd.CommandPath(), name, kind, envName(name))
		}
	}
	return nil
}

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func (c *choice) String() string { return *c.value }

func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be %s", orList(c.allowed))
	}
	*c.value = s
	return nil
}

// completeChoices lets shells complete the words of every flag that takes one of a few.
func completeChoices(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if c, ok := f.Value.(*choice); ok {
			words := cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp)
			_ = cmd.RegisterFlagCompletionFunc(f.Name, words) // fails for a flag that has them already
		}
	})
	for _, c := range cmd.Commands() {
		completeChoices(c)
	}
}

// orList writes "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// flagError turns a complaint about a flag into plain words.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := unknown.GetSpecifiedName()
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if unknown.GetSpecifiedShortnames() != "" {
			return usagef("%s has no flag -%s", cmd.CommandPath(), clip(name))
		}
		text := fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), clip(name))
		if near := nearest(name, names); near != "" {
			text += "; did you mean --" + near + "?"
		}
		return &usageError{text: text}
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := bad.GetFlag()
		return usagef("--%s %s: %s", f.Name, quoteSetting(f.Name, bad.GetValue()), complaint(f, err))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usagef("--%s needs a value", missing.GetSpecifiedName())
	}
	return usagef("%v", err)
}

// complaint says what is wrong with the value of a flag.
func complaint(f *pflag.Flag, err error) string {
	switch f.Value.Type() {
	case "int", "int32":
		return "must be a whole number"
	case "duration":
		return "must be a duration, such as 30s or 5m"
	case "bool":
		return "must be true or false"
	}
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next // the flag's own words are innermost
	}
	return err.Error()
}

// nearest is the candidate closest to what was typed; empty when none is close.
func nearest(typed string, candidates []string) string {
	const longest = 64
	if len(typed) > longest {
		return ""
	}
	best, distance := "", max(1, len(typed)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		d := editDistance(strings.ToLower(typed), c)
		if len(typed) >= 2 && strings.HasPrefix(c, typed) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the letters to insert, remove, change or swap.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			differ := 1
			if a[i-1] == b[j-1] {
				differ = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+differ)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
