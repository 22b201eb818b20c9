package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"springtide/services/oidc"
)

// addOIDC adds the flags of a process that takes an identity provider's tokens.
func (s *sharedFlags) addOIDC(f *pflag.FlagSet) {
	f.StringVar(&s.oidc.Issuer, "oidc-issuer", "", "take tokens of the OpenID Connect provider at this `URL` beside API keys")
	f.StringVar(&s.oidc.Audience, "oidc-audience", "", "`NAME` that tokens must be made for")
	f.StringSliceVar(&s.oidc.Algorithms, "oidc-algorithms", nil, "take signatures of these `ALGORITHMS` only (default: RS256,ES256)")
	f.StringVar(&s.oidc.TenantClaim, "oidc-tenant-claim", "tenant", "`claim` that names the tenant; dots lead into objects")
	f.StringVar(&s.oidc.SubjectClaim, "oidc-subject-claim", "sub", "`claim` that names who it is")
	f.StringVar(&s.oidc.RolesClaim, "oidc-roles-claim", "roles", "`claim` that lists the roles: accountant, viewer, operator")
	f.StringVar(&s.oidc.RolePrefix, "oidc-role-prefix", "", "`TEXT` in front of the roles that are meant; others are ignored")
	f.StringVar(&s.oidc.TaxpayersClaim, "oidc-taxpayers-claim", "", "`claim` that lists the taxpayers somebody may act for, * for all; tokens without it are then refused")
}

// validateOIDC refuses what could let nobody in, or the wrong ones.
func (s *sharedFlags) validateOIDC(flags *pflag.FlagSet) error {
	if flags.Lookup("oidc-issuer") == nil {
		return nil
	}
	if s.oidc.Issuer == "" {
		var needless string
		flags.Visit(func(f *pflag.Flag) {
			if strings.HasPrefix(f.Name, "oidc-") {
				needless = f.Name
			}
		})
		if needless != "" {
			return usagef("--%s needs --oidc-issuer: without a provider there are no tokens", needless)
		}
		return nil
	}
	if err := s.oidc.Validate(); err != nil {
		return usagef("--oidc-issuer: %v", err)
	}
	return nil
}

// provider is whose tokens are taken; nil: nobody's.
func (s *sharedFlags) provider() *oidc.Config {
	if s.oidc.Issuer == "" {
		return nil
	}
	c := s.oidc
	return &c
}
