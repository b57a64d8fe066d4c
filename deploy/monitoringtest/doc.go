// Package monitoringtest checks the alert rules, the runbook and the Grafana dashboard. They must
// parse, and their metrics and labels must exist. The query engine of Prometheus evaluates them on
// made-up series and on the metrics of real programs. It is a module of its own, so that the product
// does not depend on Prometheus.
package monitoringtest
