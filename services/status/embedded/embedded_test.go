package embedded

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartRefusesToBeReachedFromOutside(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"0.0.0.0:0", ":0", "localhost", "192.0.2.1:0", "example.org:1"} {
		if s, err := Start(t.Context(), Config{Listen: listen}); err == nil {
			s.Close()
			t.Errorf("%q: no error", listen)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Listen: s.Addr()}); err == nil {
		t.Error("a taken address: no error")
	}
	addr := s.Addr()
	s.Close()
	s.Close()
	again, err := Start(t.Context(), Config{Listen: addr})
	if err != nil {
		t.Fatalf("the address is not free: %v", err)
	}
	again.Close()
}

func TestKeysExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		ctx, cancel := context.WithCancel(t.Context())
		go expire(ctx, m)
		if err := m.Set("k", "v"); err != nil {
			t.Fatal(err)
		}
		m.SetTTL("k", 90*time.Second)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !m.Exists("k") {
			t.Error("gone too early")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m.Exists("k") {
			t.Error("did not expire")
		}
		cancel()
	})
}
