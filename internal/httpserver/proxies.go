package httpserver

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTimeout limits how long a connection of a trusted proxy waits for a PROXY header.
const proxyHeaderTimeout = 5 * time.Second

// forwardedFor is the header in which each HTTP proxy appends the address of its client.
const forwardedFor = "X-Forwarded-For"

// TrustedProxies are the networks whose word about the address of a client is believed. Nil trusts
// nobody.
type TrustedProxies []netip.Prefix

// ParseTrustedProxies parses networks, such as 10.0.0.0/8, and single addresses.
func ParseTrustedProxies(texts []string) (TrustedProxies, error) {
	var proxies TrustedProxies
	for _, text := range texts {
		prefix, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q must be an address or a network, such as 10.0.0.0/8", text)
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}

	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	const mappedBits = 96 // before the IPv4 address in ::ffff:10.0.0.0
	if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
	}
	return prefix.Masked(), nil
}

// contains reports whether the address is one of a trusted proxy.
func (t TrustedProxies) contains(addr netip.Addr) bool {
	for _, prefix := range t {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Listener returns a listener that reads the PROXY header (version 1 or 2) with which a connection
// of a trusted proxy may begin. The remote address of the connection is then the one in the header.
// A PROXY header of any other peer is not a valid HTTP request. The listener must be below TLS.
func (t TrustedProxies) Listener(ln net.Listener) net.Listener {
	if len(t) == 0 {
		return ln
	}
	return &proxyproto.Listener{
		Listener:          ln,
		ReadHeaderTimeout: proxyHeaderTimeout,
		ConnPolicy: func(options proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			peer, isKnown := parseAddress(options.Upstream.String())
			if isKnown && t.contains(peer) {
				return proxyproto.USE, nil
			}
			return proxyproto.SKIP, nil
		},
	}
}

// setClientAddress sets the RemoteAddr of requests that come from a trusted proxy to the client's
// address in X-Forwarded-For. Its port is 0. RemoteAddr does not change if the peer is not trusted.
func (t TrustedProxies) setClientAddress(h http.Handler) http.Handler {
	if len(t) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr, isForwarded := t.findClient(r.RemoteAddr, r.Header[forwardedFor])
		if isForwarded {
			r.RemoteAddr = netip.AddrPortFrom(addr, 0).String()
		}
		h.ServeHTTP(w, r)
	})
}

// findClient returns the address of the client behind trusted proxies. forwarded are the values of
// X-Forwarded-For. Each proxy has appended the address of its peer, so the list is read from its
// end. The first address that is not a trusted proxy is the client, since whatever is before it may
// be invented. A value that is not an address ends the list. ok is false if nothing was forwarded by
// a trusted proxy.
func (t TrustedProxies) findClient(peer string, forwarded []string) (addr netip.Addr, ok bool) {
	addr, isKnown := parseAddress(peer)
	if !isKnown {
		return netip.Addr{}, false
	}

	list := strings.Split(strings.Join(forwarded, ","), ",")
	for len(list) > 0 && t.contains(addr) {
		next, isKnown := parseAddress(strings.TrimSpace(list[len(list)-1]))
		if !isKnown {
			break
		}
		addr = next
		ok = true
		list = list[:len(list)-1]
	}
	return addr, ok
}

// parseAddress parses an IP address, which may have a port, without its zone. An IPv4 address that
// is mapped into IPv6 is returned as IPv4.
func parseAddress(text string) (addr netip.Addr, ok bool) {
	withPort, err := netip.ParseAddrPort(text)
	if err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	inBrackets := strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]")
	if inBrackets {
		text = text[1 : len(text)-1]
	}
	addr, err = netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}
