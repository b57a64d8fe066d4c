package coreapi

// addRoutes registers every call of the contract, in the contract's order.
func (a *API) addRoutes() {
	d := describer{a.huma.OpenAPI().Components.Schemas}

	a.addRoute(d.operation(creditDoc), creditAccount)
	a.addRoute(d.operation(debitDoc), debitAccount)
	a.addRoute(d.operation(holdDoc), holdPoints)
	a.addRoute(d.operation(settleDoc), settleEscrow)
	a.addRoute(d.operation(refundDoc), refundEscrow)
	a.addRoute(d.operation(partialSettleDoc), settlePartially)
	a.addRoute(d.batch(), runBatch)

	a.addRoute(d.query(balanceDoc), getBalance)
	a.addRoute(d.query(entriesDoc), listEntries)
	a.addRoute(d.query(eventsDoc), listEvents)
	a.addRoute(d.query(escrowsDoc), listEscrows)
	a.addRoute(d.query(escrowDoc), getEscrow)
	a.addRoute(d.query(transactionDoc), getTransaction)
}
