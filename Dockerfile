# One image with both programs; which one runs is the container's command: core serve, core migrate up, gateway serve.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag realtime .

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
COPY internal internal
COPY docs docs
ARG REVISION=
# Static: no cgo, so that the last stage needs no libraries.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/redroomrewards/realtime/internal/buildinfo.revision=${REVISION}" \
    -o /out/ ./cmd/core ./cmd/gateway

# For health checks only: the last stage has no shell.
FROM busybox:1.37.0-musl AS busybox

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=busybox /bin/wget /usr/local/bin/wget
COPY --from=build /out/core /out/gateway /usr/local/bin/
COPY LICENSE THIRD_PARTY_LICENSES /licenses/
LABEL org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source="https://github.com/redroomrewards/realtime" \
      org.opencontainers.image.licenses="Apache-2.0"
USER nonroot:nonroot
CMD ["core", "--help"]
