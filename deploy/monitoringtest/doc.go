// Package monitoringtest checks the alert rules and the Grafana dashboard. They must parse, and
// their metrics and labels must exist. It is a module of its own, so that the product does not
// depend on the parsers of Prometheus.
package monitoringtest
