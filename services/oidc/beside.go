package oidc

import "springtide/services/keys"

// An Authenticator says whose a token is; *keys.Store is one, and *Verifier.
type Authenticator interface {
	Authenticate(token string) (keys.Identity, error)
}

// Beside takes tokens of a provider beside API keys: what has the shape of a token is one,
// as no key has, and whatever else is for the keys to judge.
func Beside(apiKeys Authenticator, tokens *Verifier) Authenticator { return beside{apiKeys, tokens} }

type beside struct {
	keys   Authenticator
	tokens *Verifier
}

func (b beside) Authenticate(token string) (keys.Identity, error) {
	if Is(token) {
		return b.tokens.Authenticate(token)
	}
	return b.keys.Authenticate(token)
}
