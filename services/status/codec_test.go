package status

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

func TestRawIDsAreFilingIDs(t *testing.T) {
	t.Parallel()
	enc := idEncoding()
	for _, tenant := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		id := filing.IDOf(tenant, &springtidev1.Return{})
		raw := rawID(enc, id)
		if len(raw) != rawIDLen || idOf(enc, raw) != id {
			t.Errorf("%s: %x", id, raw)
		}
	}
	for _, bad := range []filing.ID{"", "short", filing.ID(strings.Repeat("i", 32)), filing.ID(strings.Repeat("0", 33)), filing.ID(strings.Repeat("A", 32))} {
		if raw := rawID(enc, bad); raw != "" {
			t.Errorf("%q: %x", bad, raw)
		}
	}
}

func TestMonthOf(t *testing.T) {
	t.Parallel()
	a, _ := monthOf("2026-06")
	b, ok := monthOf("2026-06-30")
	if c, _ := monthOf("2026-07"); !ok || a != b || a == c {
		t.Errorf("%v %v %v", a, b, c)
	}
	for _, bad := range []string{"", "2026", "2026-00", "2026-13", "2026-6", "x", "0000-01", "9999-12"} {
		if m, ok := monthOf(bad); ok || m != (month{}) {
			t.Errorf("%q: %v", bad, m)
		}
	}
}

// FuzzRow: whatever is stored, reading it never panics, and what was encoded reads back.
func FuzzRow(f *testing.F) {
	good, err := Row{Tenant: "acme", Filing: &springtidev1.Filing{Version: 1, State: 4, BatchId: "b"}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(string(good[:headLen]))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := decodeRow(s)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := r.encode()
		if err != nil {
			return // a head that fits, around a filing that cannot be
		}
		back, err := decodeRow(string(again))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back, protocmp.Transform()); diff != "" && proto.Size(r.Filing) > 0 {
			t.Fatal(diff)
		}
	})
}

// The keys that a row is written under are those that lists read.
func TestARowIsIndexedWhereListsLook(t *testing.T) {
	t.Parallel()
	june, _ := monthOf("2026-06")
	const rejected = springtidev1.FilingState_FILING_STATE_REJECTED
	for _, c := range []struct {
		name string
		row  *springtidev1.Filing
		want []string
	}{
		{"no month, no batch", &springtidev1.Filing{Version: 9, State: 4}, []string{"s:" + tenantIndex("acme")}},
		{"all", &springtidev1.Filing{Version: 9, State: rejected, BatchId: "b1", Period: &springtidev1.Period{End: "2026-06-30"}}, []string{
			"s:" + tenantIndex("acme"), "s:" + monthIndex("acme", june), "s:" + batchIndex("acme", "b1"), "s:" + keyState + string(rune(rejected)),
		}},
	} {
		stored, err := Row{Tenant: "acme", Filing: c.row}.encode()
		if err != nil {
			t.Fatal(err)
		}
		h, err := headOf(string(stored))
		if err != nil || h.version != 9 || h.tenant != "acme" {
			t.Errorf("%s: %+v, %v", c.name, h, err)
		}
		if got := h.indexes("s:"); !slices.Equal(got, c.want) {
			t.Errorf("%s: indexes %q, want %q", c.name, got, c.want)
		}
		if m := h.member(strings.Repeat("x", rawIDLen)); len(m) != memberLen || m[timeLen:positionLen] != strings.Repeat("x", rawIDLen) || m[positionLen] != byte(c.row.State) {
			t.Errorf("%s: member %q", c.name, m)
		}
	}
}

// FuzzPageToken: a token is ours to the letter, or refused.
func FuzzPageToken(f *testing.F) {
	finger := fingerprintOf("filings", "acme")
	pos := strings.Repeat("p", positionLen)
	good := makeToken(finger, pos)
	f.Add(good)
	f.Add(good + "=")
	f.Add(good[:len(good)-1])
	f.Add(makeToken(fingerprintOf("filings", "other"), pos))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte("\x02" + string(finger[:]) + pos)))
	f.Add(strings.Repeat("A", 5000))
	f.Fuzz(func(t *testing.T, token string) {
		after, err := parseToken(token, finger, positionLen, positionLen)
		switch {
		case err != nil && !errors.Is(err, ErrPageToken):
			t.Fatal(err)
		case err == nil && token != "" && makeToken(finger, after) != token:
			t.Fatalf("%q was taken, but is spelled %q", token, makeToken(finger, after))
		}
	})
}

func TestPageTokenOfAnotherQueryIsRefused(t *testing.T) {
	t.Parallel()
	pos := strings.Repeat("p", positionLen)
	a, b := fingerprintOf("filings", "ab", "c"), fingerprintOf("filings", "a", "bc")
	if got, err := parseToken(makeToken(a, pos), a, positionLen, positionLen); got != pos || err != nil {
		t.Errorf("own: %q, %v", got, err)
	}
	if _, err := parseToken(makeToken(a, pos), b, positionLen, positionLen); !errors.Is(err, ErrPageToken) {
		t.Errorf("other: %v", err)
	}
}

// FuzzNotice: a notice from anybody on the channel never panics nor blocks.
func FuzzNotice(f *testing.F) {
	id := filing.IDOf("acme", &springtidev1.Return{})
	enc := idEncoding()
	f.Add(rawID(enc, id) + "\x04acme\x02b1")
	f.Add(rawID(enc, id) + "\x04acme")
	f.Add("x")
	f.Fuzz(func(t *testing.T, notice string) {
		h := newHub(1)
		w := &Watcher{hub: h, in: Interest{Tenant: "acme", IDs: []filing.ID{id}, Batch: "b1"}, wake: make(chan struct{}, 1), pending: make(map[filing.ID]Row)}
		if err := h.add(w); err != nil {
			t.Fatal(err)
		}
		h.dispatch(enc, notice)
		if c, ok := h.collect(w); ok != (notice == "") || ok && !c.Resync {
			t.Fatalf("%+v", c)
		}
		// What is to be read is what is watched.
		for ids, who := h.take(); len(ids) > 0; ids, who = h.take() {
			for i := range ids {
				if ids[i] != id && !slices.Contains(who[i].batches, batchIndex("acme", "b1")) {
					t.Fatalf("%s of %+v is to be read", ids[i], who[i])
				}
			}
		}
	})
}

func TestJudgeServers(t *testing.T) {
	t.Parallel()
	good := func() map[string]string {
		return map[string]string{
			"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction",
			"used_memory": "100", "maxmemory": "1000", "rdb_last_bgsave_status": "ok",
		}
	}
	for _, c := range []struct {
		name, field, value string
		want               Level
	}{
		{"all well", "role", "master", OK},
		{"too old", "redis_version", "5.0.3", Fail},
		{"no version", "redis_version", "", Fail},
		{"replica", "role", "slave", Fail},
		{"evicts", "maxmemory_policy", "allkeys-lru", Fail},
		{"no limit", "maxmemory", "0", Warn},
		{"nearly full", "used_memory", "900", Warn},
		{"snapshot failed", "rdb_last_bgsave_status", "err", Warn},
	} {
		info := good()
		info[c.field] = c.value
		worst := OK
		for _, f := range judge("", info) {
			if f.Level != OK {
				worst = f.Level
			}
			if (f.Level == OK) != (f.Fix == "") {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if worst != c.want {
			t.Errorf("%s: %s, want %s", c.name, worst, c.want)
		}
	}
}
