package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/keys"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys",
		Long: `Keys asks a front door for the keys of your own tenant, which takes a key with
the role operator. With --kafka it works on the keys of the whole installation instead,
because the first key cannot be made with a key.
Only hashes are kept; a key is shown once, when it is made.`,
		Example: `  springtide keys create --kafka 127.0.0.1:9092 --tenant acme --role operator
  springtide keys create --role accountant
  springtide keys list
  springtide keys revoke 0123456789abcdef`,
	})
	f := cmd.PersistentFlags()
	a.shared.addClient(f)
	a.shared.addKafka(f)
	a.shared.addData(f, defaultData, "the pepper is kept in this `directory`")
	a.shared.addPepper(f)
	cmd.AddCommand(a.keysCreateCommand(), a.keysListCommand(), a.keysRevokeCommand())
	return cmd
}

// withKeys gives one command the API keys: of the installation with --kafka, else of the caller's tenant.
func (a *app) withKeys(cmd *cobra.Command, use func(KeyAdmin) error) error {
	if len(a.shared.kafka) == 0 {
		if f := cmd.Flags().Lookup("tenant"); f != nil && f.Changed {
			return usagef("--tenant needs --kafka: a front door makes and lists the keys of your own tenant")
		}
		return a.withClient(func(c *client) error { return use(doorKeys{c}) })
	}
	if a.deps.Keys == nil {
		return errNotBuilt
	}
	return a.deps.Keys(cmd.Context(), KeysOptions{Common: a.common("keys")}, use)
}

// doorKeys are the keys of the caller's tenant, through a front door.
type doorKeys struct{ *client }

func (d doorKeys) Create(ctx context.Context, id keys.Identity) (keys.Key, string, error) {
	var resp *springtidev1.CreateKeyResponse
	// Not repeated: of a key whose answer was lost nobody knows the secret, and one more would be made.
	err := d.retry.try(ctx, false, func(ctx context.Context) (err error) {
		resp, err = springtidev1.NewKeyServiceClient(d.conn).CreateKey(ctx, &springtidev1.CreateKeyRequest{
			Subject: id.Subject, Roles: id.Roles, Taxpayers: id.Taxpayers,
		})
		return err
	})
	return keyFrom(resp.GetKey()), resp.GetToken(), err
}

func (d doorKeys) List(ctx context.Context, _ string) (all []keys.Key, err error) {
	req := &springtidev1.ListKeysRequest{PageSize: 500}
	for {
		var page *springtidev1.ListKeysResponse
		err := d.retry.do(ctx, false, func(ctx context.Context) (err error) {
			page, err = springtidev1.NewKeyServiceClient(d.conn).ListKeys(ctx, req)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, k := range page.GetKeys() {
			all = append(all, keyFrom(k))
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			return all, nil
		}
	}
}

func (d doorKeys) Revoke(ctx context.Context, keyID string) (keys.Key, error) {
	var resp *springtidev1.RevokeKeyResponse
	err := d.retry.do(ctx, false, func(ctx context.Context) (err error) {
		resp, err = springtidev1.NewKeyServiceClient(d.conn).RevokeKey(ctx, &springtidev1.RevokeKeyRequest{KeyId: keyID})
		return err
	})
	return keyFrom(resp.GetKey()), err
}

func keyFrom(k *springtidev1.Key) keys.Key {
	return keys.Key{
		ID: k.GetKeyId(), CreateTime: k.GetCreateTime().AsTime(), Revoked: k.GetRevoked(),
		Identity: keys.Identity{Tenant: k.GetTenant(), Subject: k.GetSubject(), Roles: k.GetRoles(), Taxpayers: k.GetTaxpayers()},
	}
}

func (a *app) keysCreateCommand() *cobra.Command {
	var id keys.Identity
	var roles []string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key and print it, this once",
		Example: `  springtide keys create --role accountant --subject li
  springtide keys create --kafka 127.0.0.1:9092 --tenant acme --role operator
  export SPRINGTIDE_KEY=$(springtide keys create --kafka 127.0.0.1:9092 --tenant acme --role viewer)`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			need := []string{"role"}
			if len(a.shared.kafka) > 0 {
				need = []string{"tenant", "role"}
			}
			if err := needs(cmd, need...); err != nil {
				return err
			}
			for _, r := range roles {
				if !slices.Contains(keys.Roles(), r) {
					return usagef("--role %q: must be %s", clip(r), orList(keys.Roles()))
				}
			}
			id.Roles = roles
			return a.withKeys(cmd, func(admin KeyAdmin) error {
				key, token, err := admin.Create(cmd.Context(), id)
				if err != nil {
					return err
				}
				if a.ui.JSON {
					r := keyRecord(key)
					r.Key = token
					return writeJSON(a.ui.Out, r)
				}
				fmt.Fprintf(a.ui.Err, a.ui.Lang.say("租户 %[2]s 的密钥 %[1]s；只显示这一次：\n", "Key %[1]s of tenant %[2]s; it is shown this once:\n"), key.ID, plain(key.Identity.Tenant))
				_, err = fmt.Fprintln(a.ui.Out, token)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&id.Tenant, "tenant", "", "tenant the key acts for, by `name`; with --kafka, otherwise your own")
	f.StringSliceVar(&roles, "role", nil, "what it may do: accountant, viewer or operator; `ROLE[,...]`")
	f.StringVar(&id.Subject, "subject", "", "`who` holds the key (default: the key's id)")
	f.StringSliceVar(&id.Taxpayers, "taxpayer", nil, "only these taxpayers' `numbers` (default: all of the tenant)")
	return cmd
}

func (a *app) keysListCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys, without their secrets",
		Example: `  springtide keys list
  springtide keys list --kafka 127.0.0.1:9092 --tenant acme`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeys(cmd, func(admin KeyAdmin) error {
				all, err := admin.List(cmd.Context(), tenant)
				if err != nil {
					return err
				}
				if a.ui.JSON {
					out := &list{w: a.ui.Out}
					for _, k := range all {
						if err := out.add(keyRecord(k)); err != nil {
							return err
						}
					}
					return out.end()
				}
				l, rows := a.ui.Lang, make([][]string, 0, len(all))
				for _, k := range all {
					state := l.say("有效", "in force")
					if k.Revoked {
						state = l.say("已吊销", "revoked")
					}
					rows = append(rows, []string{
						k.ID, k.Identity.Tenant, k.Identity.Subject, strings.Join(k.Identity.Roles, ","),
						state, k.CreateTime.Local().Format(time.DateTime),
					})
				}
				return writeTable(a.ui.Out, a.ui.OutTerm, "", []column{
					{l.say("密钥", "KEY"), 0},
					{l.say("租户", "TENANT"), 10},
					{l.say("持有人", "HOLDER"), 10},
					{l.say("角色", "ROLES"), 10},
					{l.say("状态", "STATE"), 0},
					{l.say("创建时间", "MADE"), 10},
				}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant's `name`; with --kafka, otherwise your own")
	return cmd
}

func (a *app) keysRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke KEY-ID...",
		Short:   "End keys for good",
		Long:    `Revoke ends keys for good; every server refuses them within a second. It takes the key's id as keys list shows it, not the key.`,
		Example: `  springtide keys revoke 0123456789abcdef`,
		Args:    arguments(1, -1, "at least one KEY-ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeys(cmd, func(admin KeyAdmin) error {
				out := &list{w: a.ui.Out}
				for _, id := range args {
					key, err := admin.Revoke(cmd.Context(), id)
					if err != nil {
						return err
					}
					if a.ui.JSON {
						err = out.add(keyRecord(key))
					} else {
						_, err = fmt.Fprintf(a.ui.Out, a.ui.Lang.say("%s  已吊销\n", "%s  revoked\n"), key.ID)
					}
					if err != nil {
						return err
					}
				}
				if a.ui.JSON {
					return out.end()
				}
				return nil
			})
		},
	}
}

type keyEntry struct {
	KeyID      string   `json:"key_id"`
	Key        string   `json:"key,omitempty"`
	Tenant     string   `json:"tenant"`
	Subject    string   `json:"subject"`
	Roles      []string `json:"roles"`
	Taxpayers  []string `json:"taxpayers,omitempty"`
	CreateTime string   `json:"create_time"`
	Revoked    bool     `json:"revoked"`
}

func keyRecord(k keys.Key) keyEntry {
	return keyEntry{
		KeyID: k.ID, Tenant: k.Identity.Tenant, Subject: k.Identity.Subject, Roles: k.Identity.Roles,
		Taxpayers: k.Identity.Taxpayers, CreateTime: k.CreateTime.UTC().Format(time.RFC3339Nano), Revoked: k.Revoked,
	}
}
