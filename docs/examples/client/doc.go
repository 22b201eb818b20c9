// Package client is the client that oapi-codegen makes of the OpenAPI document of a
// running server. It is not kept: run
//
//	curl -o client/openapi.json http://127.0.0.1:7080/openapi.json
//	go generate ./client
package client

//go:generate go tool oapi-codegen -package client -generate types,client -o client.gen.go openapi.json
