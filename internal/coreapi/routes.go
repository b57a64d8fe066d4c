package coreapi

// addRoutes registers every call of the contract, in the contract's order.
func (a *API) addRoutes() {
	d := describer{a.document}

	a.addRoute(d.describeOperation(creditDoc), creditAccount)
	a.addRoute(d.describeOperation(debitDoc), debitAccount)
	a.addRoute(d.describeOperation(holdDoc), holdPoints)
	a.addRoute(d.describeOperation(settleDoc), settleEscrow)
	a.addRoute(d.describeOperation(refundDoc), refundEscrow)
	a.addRoute(d.describeOperation(partialSettleDoc), settlePartially)
	a.addRoute(d.describeBatch(), runBatch)

	a.addRoute(d.describeQuery(balanceDoc), getBalance)
	a.addRoute(d.describeQuery(entriesDoc), listEntries)
	a.addRoute(d.describeQuery(eventsDoc), listEvents)
	a.addRoute(d.describeQuery(allEventsDoc), listAllEvents)
	a.addRoute(d.describeQuery(escrowsDoc), listEscrows)
	a.addRoute(d.describeQuery(escrowDoc), getEscrow)
	a.addRoute(d.describeQuery(transactionDoc), getTransaction)
}
