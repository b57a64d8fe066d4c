// Package composetest checks that docker-compose.yml, the Dockerfile and the configuration files
// fit together. Without it, Docker would find these errors only at run time. It is a module of its
// own, so that the product does not depend on compose-go.
package composetest
