package frontdoor

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

// An Authenticator says whose a key is; *keys.Store is one.
type Authenticator interface {
	// Authenticate returns *filing.Error for a token that counts for nothing.
	Authenticate(token string) (keys.Identity, error)
}

// who may call a method.
type who struct {
	// public methods need no key.
	public bool
	// roles of which a caller needs one.
	roles []string
	// unlimited methods concern all taxpayers: a caller limited to some may not call them.
	unlimited bool
	// poll methods are asked over and over, and give way when the process is short of processors.
	poll bool
}

// accessTable says who may call what. What is not in it may not be called.
func accessTable() map[string]who {
	read := who{roles: []string{keys.RoleAccountant, keys.RoleViewer}}
	poll := who{roles: read.roles, poll: true}
	write := who{roles: []string{keys.RoleAccountant}}
	operate := who{roles: []string{keys.RoleOperator}, unlimited: true}
	public := who{public: true}
	return map[string]who{
		springtidev1.FilingService_SubmitFiling_FullMethodName:       write,
		springtidev1.FilingService_SubmitFilingBatch_FullMethodName:  write,
		springtidev1.FilingService_CancelFiling_FullMethodName:       write,
		springtidev1.FilingService_RetryFiling_FullMethodName:        write,
		springtidev1.FilingService_SaveDraft_FullMethodName:          write,
		springtidev1.FilingService_DeleteDraft_FullMethodName:        write,
		springtidev1.FilingService_SubmitDrafts_FullMethodName:       write,
		springtidev1.FilingService_CreateZeroDrafts_FullMethodName:   write,
		springtidev1.FilingService_GetFilingCalendar_FullMethodName:  read,
		springtidev1.FilingService_GetFiling_FullMethodName:          poll,
		springtidev1.FilingService_BatchGetFilings_FullMethodName:    poll,
		springtidev1.FilingService_BatchGetReturns_FullMethodName:    read,
		springtidev1.FilingService_ListFilings_FullMethodName:        read,
		springtidev1.FilingService_WatchFilings_FullMethodName:       read,
		springtidev1.FilingService_CheckFiling_FullMethodName:        read,
		springtidev1.FilingService_GetFilingBatch_FullMethodName:     poll,
		springtidev1.FilingService_ListFilingBatches_FullMethodName:  read,
		springtidev1.FilingService_GetReceipt_FullMethodName:         read,
		springtidev1.FilingService_ListForms_FullMethodName:          read,
		springtidev1.FilingService_GetForm_FullMethodName:            read,
		springtidev1.FilingService_ListMissingFilings_FullMethodName: read,
		springtidev1.FilingService_ListDrafts_FullMethodName:         read,

		springtidev1.OperationsService_GetOverview_FullMethodName:       operate,
		springtidev1.OperationsService_WatchOverview_FullMethodName:     operate,
		springtidev1.OperationsService_ListAuthorities_FullMethodName:   operate,
		springtidev1.OperationsService_PauseAuthority_FullMethodName:    operate,
		springtidev1.OperationsService_ResumeAuthority_FullMethodName:   operate,
		springtidev1.OperationsService_ListFailures_FullMethodName:      operate,
		springtidev1.OperationsService_RetryFailures_FullMethodName:     operate,
		springtidev1.OperationsService_GetRetryRun_FullMethodName:       operate,
		springtidev1.OperationsService_ListTopTenants_FullMethodName:    operate,
		springtidev1.OperationsService_ListDeadLetters_FullMethodName:   operate,
		springtidev1.OperationsService_ReplayDeadLetter_FullMethodName:  operate,
		springtidev1.OperationsService_ListActs_FullMethodName:          operate,
		springtidev1.OperationsService_ListQuarantine_FullMethodName:    operate,
		springtidev1.OperationsService_ResolveQuarantine_FullMethodName: operate,

		springtidev1.KeyService_CreateKey_FullMethodName: operate,
		springtidev1.KeyService_ListKeys_FullMethodName:  operate,
		springtidev1.KeyService_RevokeKey_FullMethodName: operate,

		springtidev1.WebhookService_CreateWebhook_FullMethodName: operate,
		springtidev1.WebhookService_ListWebhooks_FullMethodName:  operate,
		springtidev1.WebhookService_EnableWebhook_FullMethodName: operate,
		springtidev1.WebhookService_DeleteWebhook_FullMethodName: operate,

		grpc_health_v1.Health_Check_FullMethodName: public,
		grpc_health_v1.Health_List_FullMethodName:  public,
		grpc_health_v1.Health_Watch_FullMethodName: public,
		// Served only where Config.Reflection says so.
		grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName:      public,
		grpc_reflection_v1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: public,
	}
}

type identityKey struct{}

// identityOf is who makes the request. Handlers run only behind the interceptor that puts it there.
func identityOf(ctx context.Context) keys.Identity {
	id, _ := ctx.Value(identityKey{}).(keys.Identity)
	return id
}

// admitCaller authenticates and authorises; the context it returns carries the identity.
func (d *door) admitCaller(ctx context.Context, method string) (context.Context, error) {
	rule, listed := d.access[method]
	if !listed {
		return ctx, denied(nil)
	}
	if rule.public {
		return ctx, nil
	}
	id, err := d.identify(ctx, method, metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

// identify authenticates and authorises by the values of an authorization header, for
// a method that is not public.
func (d *door) identify(ctx context.Context, method string, authorization []string) (keys.Identity, error) {
	token, err := bearer(authorization)
	if err != nil {
		return keys.Identity{}, err
	}
	id, err := d.deps.Keys.Authenticate(token)
	if err != nil {
		return keys.Identity{}, err
	}
	rule := d.access[method] // of one that is not listed nobody has a role
	if id.Tenant == "" || !id.HasRole(rule.roles...) {
		d.noteDenied(ctx, id, method)
		return keys.Identity{}, denied(rule.roles)
	}
	if rule.unlimited && len(id.Taxpayers) > 0 {
		d.noteDenied(ctx, id, method)
		return keys.Identity{}, &filing.Error{Reason: filing.ReasonKeyLimited}
	}
	return id, nil
}

func denied(roles []string) error {
	return &filing.Error{
		Reason: filing.ReasonPermissionDenied,
		Args:   filing.Args{"roles": strings.Join(slices.Sorted(slices.Values(roles)), " / ")},
	}
}

// bearer takes the token out of the authorization header.
func bearer(values []string) (string, error) {
	if len(values) == 0 {
		return "", &filing.Error{Reason: filing.ReasonKeyMissing}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "bearer") || token == "" {
		return "", &filing.Error{Reason: filing.ReasonKeyInvalid}
	}
	return token, nil
}
