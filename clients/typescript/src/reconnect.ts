/** The frame after which a client connects again almost at once. */
export const reconnectNow = '{"op":"reconnect","afterMs":20,"reason":"drain"}';
