package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"springtide/services/filing"
)

func TestTokenReadsBackAsItWasMade(t *testing.T) {
	t.Parallel()
	id, secret, token := newToken()
	gotID, gotSecret, err := parseToken(token)
	if err != nil || gotID != id || !bytes.Equal(gotSecret, secret) {
		t.Fatalf("parse %s: id %s secret %x, %v", token, gotID, gotSecret, err)
	}
	if _, _, other := newToken(); other == token {
		t.Fatal("two tokens are the same")
	}
}

func TestMalformedTokensAreInvalidKeys(t *testing.T) {
	t.Parallel()
	_, _, token := newToken()
	for name, bad := range map[string]string{
		"no prefix":        token[len(tokenPrefix):],
		"other prefix":     "sk_" + token[len(tokenPrefix):],
		"cut short":        token[:len(token)-1],
		"too long":         token + "0",
		"trailing newline": token + "\n",
		"upper case":       strings.ToUpper(token),
		"no separator":     strings.Replace(token, token[:20], token[:19]+"0", 1),
		"loose last bits":  token[:len(token)-1] + "z",
		"letter not used":  token[:len(token)-2] + "u0",
		"huge":             "st_" + strings.Repeat("0", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := parseToken(bad)
			if filing.ReasonOf(err) != filing.ReasonKeyInvalid {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzParseToken(f *testing.F) {
	_, _, token := newToken()
	for _, seed := range []string{"", "st_", "st__", token, token[:30], strings.ToUpper(token), "st_0000000000000000_" + strings.Repeat("0", secretLen)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, secret, err := parseToken(token)
		if err != nil {
			if filing.ReasonOf(err) != filing.ReasonKeyInvalid {
				t.Fatalf("error without a reason: %v", err)
			}
			return
		}
		if again := tokenPrefix + id + "_" + encoding.EncodeToString(secret); again != token {
			t.Fatalf("%q and %q are the same key", token, again)
		}
	})
}

func TestHashIsBoundToPepperAndKey(t *testing.T) {
	t.Parallel()
	pepper, secret := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	h := newHasher(pepper)
	base := h.of("a", secret)
	if bytes.Equal(base, newHasher(bytes.Repeat([]byte{3}, 32)).of("a", secret)) {
		t.Error("the pepper does not matter")
	}
	if bytes.Equal(base, h.of("b", secret)) {
		t.Error("the key id does not matter")
	}
	if bytes.Contains(base, secret) {
		t.Error("the secret shows")
	}
	if !bytes.Equal(base, h.of("a", secret)) {
		t.Error("what was hashed before matters")
	}
}

func TestHashIsWhatStoredKeysHold(t *testing.T) {
	t.Parallel()
	// By any other HMAC-SHA256 over the same text, or no key of an installation would be known any more.
	const want = "14276431133c60f16baa3237432ca8baae634d1196a15111baad169bedc43a81"
	got := newHasher(bytes.Repeat([]byte{1}, 32)).of("0123456789abcdef", bytes.Repeat([]byte{2}, 32))
	if hex.EncodeToString(got) != want {
		t.Errorf("hash %x, want %s", got, want)
	}
}

func TestPepperFileIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pepper")
	first, err := PepperFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := PepperFile(path)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("second reading differs: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := PepperFile(path); err == nil {
		t.Error("a short pepper was taken")
	}
	if _, err := PepperFile(filepath.Join(path, "below a file")); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestIdentityScope(t *testing.T) {
	t.Parallel()
	all, one := Identity{Roles: []string{RoleViewer}}, Identity{Taxpayers: []string{"A"}}
	if !all.MayActFor("B") || one.MayActFor("B") || !one.MayActFor("A") {
		t.Error("taxpayer scope is wrong")
	}
	if !all.HasRole(RoleAccountant, RoleViewer) || all.HasRole(RoleOperator) || one.HasRole(Roles()...) {
		t.Error("roles are wrong")
	}
}

func TestProcessesThatStartTogetherMakeOnePepper(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pepper")
	peppers := make([][]byte, 16)
	var all sync.WaitGroup
	for i := range peppers {
		all.Go(func() {
			var err error
			if peppers[i], err = PepperFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, p := range peppers {
		if len(p) != minPepper || !bytes.Equal(p, peppers[0]) {
			t.Fatal("two processes have different peppers")
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v are left, %v", entries, err)
	}
}
