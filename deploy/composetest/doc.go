// Package composetest checks what an engine would only find at run time: that docker-compose.yml, the Dockerfile and the
// configuration files beside them fit together. A module of its own, so that the product does not depend on compose-go.
package composetest
