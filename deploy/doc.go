// Package deploy is empty: this module holds what an installation is made of (the
// Helm chart, the compose file, dashboards, alerts) and the tests that check it as
// strictly as Helm, Kubernetes, KEDA and Compose would. It is a module of its
// own, so that the product does not depend on any of them.
package deploy
