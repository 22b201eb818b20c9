package deploy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose reads a file as `docker compose config` does.
func compose(t *testing.T, file string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithOsEnv, cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestTheComposeFileIsAWholeInstallation(t *testing.T) {
	t.Parallel()
	p := compose(t, "compose.yaml")
	want := []string{
		"authority", "collector", "frontdoor", "grafana", "kafka", "project", "prometheus", "redis", "scaler", "submit", "validate", "webhooks",
	}
	if got := p.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.Image != "springtide" {
			if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
				t.Errorf("%s: %s is another image every day", name, s.Image)
			}
			continue
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may do more than it needs", name)
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= 40*time.Second {
			t.Errorf("%s is killed before it has drained", name)
		}
		if s.Build == nil || s.Build.Dockerfile != "deploy/Dockerfile" {
			t.Errorf("%s: built by %+v", name, s.Build)
		}
	}
}

func TestTheProgramKnowsEveryFlagOfTheComposeFile(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	settings := map[string]bool{}
	for _, s := range compose(t, "compose.yaml").Services {
		if s.Image != "springtide" {
			continue
		}
		said.WriteString(help(t, s.Command...))
		for name := range s.Environment {
			settings[name] = true
		}
	}
	for name := range settings {
		setting, ours := strings.CutPrefix(name, "SPRINGTIDE_")
		if flag := "--" + strings.ToLower(strings.ReplaceAll(setting, "_", "-")) + " "; ours && !strings.Contains(said.String(), flag) {
			t.Errorf("%s stands for no flag of any role", name)
		}
	}
}

// The servers of `make services` keep their ports and addresses.
func TestTheServersForTests(t *testing.T) {
	t.Setenv("SPRINGTIDE_KAFKA_PORT", "12345")
	p := compose(t, "servers.yaml")
	if got := p.ServiceNames(); !slices.Equal(got, []string{"kafka", "redis"}) {
		t.Errorf("services %v", got)
	}
	if got := p.Services["kafka"].Ports[0]; got.Published != "12345" || got.Target != 12345 || got.HostIP != "127.0.0.1" {
		t.Errorf("kafka is at %+v", got)
	}
}

// The image has nothing but the binary, so the binary must need nothing.
func TestTheImageIsStatic(t *testing.T) {
	t.Parallel()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	if static, err := isStatic(path); err != nil || !static {
		t.Errorf("the binary needs a loader: %v", err)
	}
	raw, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, line := range []string{"CGO_ENABLED=0 go build -trimpath -ldflags=\"-s -w\"", "FROM scratch", "USER 65532:65532", `ENTRYPOINT ["springtide"]`} {
		if !strings.Contains(text, line) {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
	mod, err := os.ReadFile(filepath.Join("..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(mod), "\ngo ")
	version, _, _ := strings.Cut(after, "\n")
	if minor := strings.Join(strings.Split(version, ".")[:2], "."); !strings.Contains(text, "FROM golang:"+minor+" ") {
		t.Errorf("the Dockerfile does not build with Go %s", minor)
	}
}
