package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"springtide/cmd/internal/cli"
	"springtide/consumers/sweep"
	"springtide/services/eventlog"
)

// Sweep compares the authorities' own lists with the ledger.
func Sweep(ctx context.Context, o cli.SweepOptions) (result sweep.Result, err error) {
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	var lists []sweep.List
	at := make(map[string]int) // one list may be of several authorities
	for _, a := range o.Authorities {
		address, err := listURL(a)
		if err != nil {
			return result, err
		}
		i, known := at[address]
		if !known {
			i = len(lists)
			at[address] = i
			lists = append(lists, sweep.List{Open: func(ctx context.Context) (io.ReadCloser, error) { return openList(ctx, client, address) }})
		}
		if !slices.Contains(lists[i].Names, a.Name) {
			lists[i].Names = append(lists[i].Names, a.Name)
		}
	}
	events, err := openLog(ctx, o.Common, eventlog.Config{})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	return sweep.Run(ctx, events, lists)
}

// listURL is where an authority lists what was filed. The address its connector
// uses will do: the simulator lists everything under /book.
func listURL(a cli.Authority) (string, error) {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("authority %s: %q is no address of a list", a.Name, a.URL)
	}
	u.RawQuery, u.Fragment = "", ""
	if !strings.HasSuffix(u.Path, "/book") {
		u.Path = "/book"
	}
	return u.String(), nil
}

func openList(ctx context.Context, client *http.Client, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s answers %s", address, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}
