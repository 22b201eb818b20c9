package frontdoor

import (
	"testing"

	"google.golang.org/grpc"

	springtidev1 "springtide/proto/springtide/v1"
)

func TestEveryMethodIsInTheAccessTable(t *testing.T) {
	t.Parallel()
	table := accessTable()
	n := 0
	for _, service := range []grpc.ServiceDesc{springtidev1.FilingService_ServiceDesc, springtidev1.OperationsService_ServiceDesc} {
		var names []string
		for _, m := range service.Methods {
			names = append(names, m.MethodName)
		}
		for _, s := range service.Streams {
			names = append(names, s.StreamName)
		}
		for _, name := range names {
			n++
			rule, listed := table["/"+service.ServiceName+"/"+name]
			if !listed || rule.public || len(rule.roles) == 0 {
				t.Errorf("%s: %+v, want at least one role", name, rule)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d methods found", n)
	}
}

func TestUnlistedMethodIsDenied(t *testing.T) {
	t.Parallel()
	d := &door{access: accessTable()}
	if _, err := d.admitCaller(t.Context(), "springtide.v1.FilingService/GetFiling"); err == nil {
		t.Error("a method without its leading slash was let through")
	}
}

func TestPlacesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"0-0": true, "15-9000000000": true, "": false, "-": false, "1": false, "01-1": false, "1--1": false, "-1-1": false, "+1-1": false, "1-1-1": false,
	} {
		if _, ok := parsePlace(text); ok != want {
			t.Errorf("%q: %t, want %t", text, ok, want)
		}
	}
}
