package frontdoor

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/filing"
	"springtide/services/webhooks"
)

// hookDesk serves WebhookService: the webhooks of the caller's tenant, and no others.
type hookDesk struct {
	springtidev1.UnimplementedWebhookServiceServer
	*door
}

func (h *hookDesk) store() (*webhooks.Store, error) {
	if h.deps.Webhooks == nil {
		return nil, &filing.Error{Reason: filing.ReasonNotImplemented}
	}
	select {
	case <-h.deps.Webhooks.Ready():
		return h.deps.Webhooks, nil
	default:
		return nil, &filing.Error{Reason: filing.ReasonStarting, RetryAfter: time.Second}
	}
}

// own finds a webhook of the caller's tenant; another's is as if it were not there.
func (h *hookDesk) own(ctx context.Context, id string) (*webhooks.Store, *webhooks.Webhook, error) {
	store, err := h.store()
	if err != nil {
		return nil, nil, err
	}
	if !webhooks.ValidID(id) {
		return nil, nil, &filing.Error{Reason: filing.ReasonIDInvalid, Field: "webhook_id"}
	}
	w, ok := store.Get(id)
	if !ok || w.Tenant != identityOf(ctx).Tenant {
		return nil, nil, &filing.Error{Reason: filing.ReasonNotFound}
	}
	return store, w, nil
}

func webhookOf(store *webhooks.Store, w *webhooks.Webhook) *springtidev1.Webhook {
	out := &springtidev1.Webhook{
		WebhookId: w.ID, Url: w.URL, Description: w.Description, CreateTime: timestamppb.New(w.CreateTime),
		State: springtidev1.WebhookState_WEBHOOK_STATE_ENABLED,
	}
	for _, p := range store.ProgressOf(w.ID) {
		if p.FailingSince.IsZero() {
			continue
		}
		out.State = springtidev1.WebhookState_WEBHOOK_STATE_FAILING
		if since := out.GetFailingSince(); since == nil || p.FailingSince.Before(since.AsTime()) {
			out.FailingSince, out.LastFailure = timestamppb.New(p.FailingSince), p.LastFailure
		}
	}
	if store.Disabled(w) {
		out.State = springtidev1.WebhookState_WEBHOOK_STATE_DISABLED
	}
	return out
}

// CreateWebhook keeps an address.
func (h *hookDesk) CreateWebhook(
	ctx context.Context, req *springtidev1.CreateWebhookRequest,
) (*springtidev1.CreateWebhookResponse, error) {
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.CreateWebhookResponse{}
	err = h.recorded(ctx, acts.HookMade, "", "", func() error {
		made, secret, err := store.Create(ctx, identityOf(ctx).Tenant, req.GetUrl(), req.GetDescription())
		if err != nil {
			return err
		}
		resp.Webhook, resp.Secret = webhookOf(store, made), secret
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// ListWebhooks lists the webhooks of the caller's tenant.
func (h *hookDesk) ListWebhooks(
	ctx context.Context, _ *springtidev1.ListWebhooksRequest,
) (*springtidev1.ListWebhooksResponse, error) {
	store, err := h.store()
	if err != nil {
		return nil, err
	}
	resp := &springtidev1.ListWebhooksResponse{}
	for _, w := range store.Of(identityOf(ctx).Tenant) {
		resp.Webhooks = append(resp.Webhooks, webhookOf(store, w))
	}
	return resp, nil
}

// EnableWebhook goes on with a webhook that was disabled.
func (h *hookDesk) EnableWebhook(
	ctx context.Context, req *springtidev1.EnableWebhookRequest,
) (*springtidev1.EnableWebhookResponse, error) {
	store, w, err := h.own(ctx, req.GetWebhookId())
	if err != nil {
		return nil, err
	}
	if store.Disabled(w) {
		err = h.recorded(ctx, acts.HookEnabled, w.ID, "", func() (err error) {
			w, err = store.Enable(ctx, w)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return &springtidev1.EnableWebhookResponse{Webhook: webhookOf(store, w)}, nil
}

// DeleteWebhook forgets a webhook.
func (h *hookDesk) DeleteWebhook(
	ctx context.Context, req *springtidev1.DeleteWebhookRequest,
) (*springtidev1.DeleteWebhookResponse, error) {
	store, w, err := h.own(ctx, req.GetWebhookId())
	if err != nil {
		return nil, err
	}
	if err := h.recorded(ctx, acts.HookDeleted, w.ID, "", func() error { return store.Delete(ctx, w.ID) }); err != nil {
		return nil, err
	}
	return &springtidev1.DeleteWebhookResponse{}, nil
}
