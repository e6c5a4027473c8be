//! Entries of members, in datagrams:
//!
//! ```text
//!  node [16], incarnation [16], generation u64, standing u8,
//!  of a suspect or one that is faulty: accuser u32,
//!  count u8, so many addresses: 4, [4], u16 or 6, [16], u16,
//!  length u8, credential
//! ```

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{CREDENTIAL_BYTES_MAX, Incarnation, Member, NodeId};

use super::{PacketError, take_array};
use crate::entry::{Absurd, Accuser, Addresses, Credential, Entry, Generation, Standing};

/// The shortest entry.
pub(crate) const ENTRY_LEN_MIN: usize = NodeId::LEN + Incarnation::LEN + 8 + 1 + 1 + 1;

/// The longest entry.
pub(crate) const ENTRY_LEN_MAX: usize =
    ENTRY_LEN_MIN + ACCUSER_LEN + Addresses::MAX * 19 + CREDENTIAL_BYTES_MAX;

/// How long an entry is when written.
pub(crate) fn entry_len(entry: &Entry) -> usize {
    let address_len = |address: SocketAddr| if address.is_ipv4() { 1 + 4 + 2 } else { 1 + 16 + 2 };
    let addresses = entry.addresses.iter().map(address_len).sum::<usize>();
    let accuser = if entry.standing.is_accused() { ACCUSER_LEN } else { 0 };
    ENTRY_LEN_MIN + accuser + addresses + entry.credential.bytes().len()
}

/// How long it will be, if it is whole and what its member shows is yet to be added, of so many
/// bytes.
pub(crate) fn entry_len_with(entry: &Entry, credential_len: usize) -> usize {
    entry_len(entry) + if entry.is_brief() { 0 } else { credential_len }
}

pub(super) fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_slice(entry.member.node.as_bytes());
    out.put_slice(entry.member.incarnation.as_bytes());
    out.put_u64(entry.generation.into());
    out.put_u8(entry.standing as u8);
    if entry.standing.is_accused() {
        out.put_u32(Accuser::number(entry.accuser));
    }
    out.put_u8(entry.addresses.iter().count() as u8);
    for address in entry.addresses.iter() {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(FAMILY_V4);
                out.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(FAMILY_V6);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16(address.port());
    }
    let credential = entry.credential.bytes();
    out.put_u8(u8::try_from(credential.len()).expect("a credential is no longer than 128 bytes"));
    out.put_slice(credential);
}

pub(super) fn take_entry(bytes: &mut &[u8]) -> Result<Entry, PacketError> {
    let node = NodeId::from_bytes(take_array(bytes)?);
    let incarnation = Incarnation::from_bytes(take_array(bytes)?);
    let generation = Generation::try_from(bytes.try_get_u64()?)?;
    let standing = match bytes.try_get_u8()? {
        0 => Standing::Alive,
        1 => Standing::Suspect,
        2 => Standing::Faulty,
        3 => Standing::Left,
        unknown => return Err(PacketError::UnknownStanding(unknown)),
    };
    let accuser = if standing.is_accused() { bytes.try_get_u32()? } else { 0 };
    let accuser = Accuser::numbered(accuser);
    let count = usize::from(bytes.try_get_u8()?);
    if count > Addresses::MAX {
        return Err(Absurd::Addresses(count).into());
    }
    let addresses = (0..count).map(|_| take_address(bytes)).collect::<Result<Vec<_>, _>>()?;
    let addresses = Addresses::try_from(addresses)?;
    let length = usize::from(bytes.try_get_u8()?);
    let credential = bytes.split_off(..length).ok_or(PacketError::Truncated)?;
    let credential = Credential::try_from(Bytes::copy_from_slice(credential))?;
    let member = Member { node, incarnation };
    Ok(Entry { member, generation, standing, addresses, credential, accuser })
}

fn take_address(bytes: &mut &[u8]) -> Result<SocketAddr, PacketError> {
    let ip: IpAddr = match bytes.try_get_u8()? {
        FAMILY_V4 => take_array::<4>(bytes)?.into(),
        FAMILY_V6 => take_array::<16>(bytes)?.into(),
        unknown => return Err(PacketError::UnknownFamily(unknown)),
    };
    Ok(SocketAddr::new(ip, bytes.try_get_u16()?))
}

const ACCUSER_LEN: usize = 4;

const FAMILY_V4: u8 = 4;
const FAMILY_V6: u8 = 6;
