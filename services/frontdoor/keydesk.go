package frontdoor

import (
	"context"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/filing"
	"springtide/services/keys"
)

// mostKeys bounds the keys of a tenant that are made here, revoked ones included.
const mostKeys = 5000

// keyDesk serves KeyService: the keys of the caller's tenant, and no others.
type keyDesk struct {
	springtidev1.UnimplementedKeyServiceServer
	*door
}

// admin is who keeps the keys, or UNIMPLEMENTED where there is none.
func (k *keyDesk) admin() (KeyAdmin, error) {
	if k.deps.KeyAdmin == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotImplemented}
	}
	return k.deps.KeyAdmin, nil
}

func keyOf(k keys.Key) *springtidev1.Key {
	return &springtidev1.Key{
		KeyId: k.ID, Tenant: k.Identity.Tenant, Subject: k.Identity.Subject, Roles: k.Identity.Roles,
		Taxpayers: k.Identity.Taxpayers, CreateTime: timestamppb.New(k.CreateTime), Revoked: k.Revoked,
	}
}

// CreateKey makes a key of the caller's tenant.
func (k *keyDesk) CreateKey(ctx context.Context, req *springtidev1.CreateKeyRequest) (*springtidev1.CreateKeyResponse, error) {
	admin, err := k.admin()
	if err != nil {
		return nil, err
	}
	id := keys.Identity{Tenant: identityOf(ctx).Tenant, Subject: req.GetSubject(), Roles: req.GetRoles(), Taxpayers: req.GetTaxpayers()}
	if id.HasRole(keys.RoleOperator) && len(id.Taxpayers) > 0 {
		return nil, &filing.Error{Reason: filing.ReasonFieldInvalid, Field: "taxpayers", Args: filing.Args{"detail": "roles: operator"}}
	}
	if len(admin.List(id.Tenant)) >= mostKeys {
		return nil, &filing.Error{Reason: filing.ReasonTooManyItems, Args: filing.Args{"max": strconv.Itoa(mostKeys)}}
	}
	resp := &springtidev1.CreateKeyResponse{}
	err = k.recorded(ctx, acts.KeyMade, id.Subject, "", func() error {
		made, token, err := admin.Create(ctx, id)
		if err != nil {
			return &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
		}
		resp.Key, resp.Token = keyOf(made), token
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// ListKeys lists the keys of the caller's tenant. The page token is the last key's id.
func (k *keyDesk) ListKeys(ctx context.Context, req *springtidev1.ListKeysRequest) (*springtidev1.ListKeysResponse, error) {
	admin, err := k.admin()
	if err != nil {
		return nil, err
	}
	all := admin.List(identityOf(ctx).Tenant)
	if token := req.GetPageToken(); token != "" {
		at := slices.IndexFunc(all, func(one keys.Key) bool { return one.ID == token })
		if at < 0 {
			return nil, &filing.Error{Reason: filing.ReasonPageTokenInvalid, Field: "page_token"}
		}
		all = all[at+1:]
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	resp := &springtidev1.ListKeysResponse{}
	if len(all) > size {
		all, resp.NextPageToken = all[:size], all[size-1].ID
	}
	for _, one := range all {
		resp.Keys = append(resp.Keys, keyOf(one))
	}
	return resp, nil
}

// RevokeKey ends a key of the caller's tenant.
func (k *keyDesk) RevokeKey(ctx context.Context, req *springtidev1.RevokeKeyRequest) (*springtidev1.RevokeKeyResponse, error) {
	admin, err := k.admin()
	if err != nil {
		return nil, err
	}
	if !keys.ValidID(req.GetKeyId()) {
		return nil, &filing.Error{Reason: filing.ReasonIDInvalid, Field: "key_id"}
	}
	theirs := slices.ContainsFunc(admin.List(identityOf(ctx).Tenant), func(one keys.Key) bool { return one.ID == req.GetKeyId() })
	if !theirs {
		return nil, &filing.Error{Reason: filing.ReasonNotFound}
	}
	resp := &springtidev1.RevokeKeyResponse{}
	err = k.recorded(ctx, acts.KeyRevoked, req.GetKeyId(), "", func() error {
		ended, err := admin.Revoke(ctx, req.GetKeyId())
		if err != nil {
			return &filing.Error{Reason: filing.ReasonLogUnavailable, Err: err}
		}
		resp.Key = keyOf(ended)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
