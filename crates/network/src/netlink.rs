//! Netlink: `socket` is the connection, `route` the messages about links, addresses and routes. Here is how attributes
//! are read: 16-bit length and kind, the value, padding to 4 bytes.

pub(crate) mod route;
pub(crate) mod socket;

/// Kind and value of each attribute; ends where they are malformed.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of one kind.
    pub(crate) fn value(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        /// NLA_F_NESTED and NLA_F_NET_BYTEORDER.
        const FLAGS: u16 = 0xc000;
        let [a, b, c, d] = *self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(socket::aligned(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & !FLAGS, value))
    }
}
