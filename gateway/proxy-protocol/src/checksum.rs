//! CRC32c (RFC 4960 appendix B), as an extension of a header has it. Never for anything but a header: it is not made to be fast.

/// The polynomial of Castagnoli, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

/// The sum of bytes that come in pieces.
pub(crate) fn crc32c<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from((sum as u8) ^ byte)];
    !pieces.into_iter().flatten().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: RFC 3720 appendix B.4, and the check value of the catalogues.
    #[test]
    fn known_sums() {
        let up: Vec<u8> = (0..32).collect();
        for (bytes, sum) in
            [(&b"123456789"[..], 0xe306_9283), (&[0; 32], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (&up, 0x46dd_794e)]
        {
            assert_eq!(crc32c([bytes]), sum, "{bytes:x?}");
            assert_eq!(crc32c([&bytes[..3], &bytes[3..]]), sum, "{bytes:x?} in pieces");
        }
    }
}
