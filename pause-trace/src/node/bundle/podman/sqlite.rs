//! Reads a table of an SQLite file ([format]). Numbers are big-endian. A write-ahead log beside the
//! file is not read; Podman uses none.
//!
//! [format]: https://www.sqlite.org/fileformat2.html

use super::{ELEMENT_WORK, MAX_CONFIG, MAX_DEPTH, Pages, array};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// The header of the file, which is on the first page.
const HEADER: usize = 100;

/// The most bytes of a record's header: some columns, each with a number of up to nine bytes.
const MAX_COLUMNS: usize = 1_024;

/// Kinds of pages of a table.
const INTERIOR: u8 = 0x05;
const LEAF: u8 = 0x0d;

/// The configuration of a container: the column `JSON` of its row in `ContainerConfig`
/// (libpod/sqlite_state_internal.go). The first column is its id.
pub(super) fn find(pages: &Pages, id: &str) -> Option<Vec<u8>> {
    let file = Sqlite::open(pages)?;
    // The schema has the type, the name, the table and the page of each table.
    let table = file.row(1, |row| row.get(1) == Some(&&b"ContainerConfig"[..]))?;
    let columns = columns(&table)?;
    let root = columns
        .get(3)?
        .iter()
        .fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
    let row = file.row(u32::try_from(root).ok()?, |row| {
        row.first() == Some(&id.as_bytes())
    })?;
    self::columns(&row)?.get(3).map(|json| json.to_vec())
}

struct Sqlite<'a> {
    pages: &'a Pages,
    size: usize,
    /// The bytes of a page that are used.
    usable: usize,
}

impl<'a> Sqlite<'a> {
    fn open(pages: &'a Pages) -> Option<Self> {
        let header = pages.read(0, HEADER)?;
        let size = match u16::from_be_bytes(array(&header, 16)?) {
            1 => 65_536,
            size => usize::from(size),
        };
        let reserved = usize::from(*header.get(20)?);
        let is_valid = header.starts_with(MAGIC) && size >= 512 && size.is_power_of_two();
        // The format needs as many for an index.
        let usable = size.checked_sub(reserved).filter(|usable| *usable >= 480)?;
        is_valid.then_some(Self {
            pages,
            size,
            usable,
        })
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        let index = u64::from(number.checked_sub(1)?);
        self.pages.read(index * self.size as u64, self.size)
    }

    /// The record of the first row of a table that is the wanted one.
    fn row(&self, root: u32, is_it: impl Fn(&[&[u8]]) -> bool) -> Option<Vec<u8>> {
        let mut left = vec![(root, 0)];
        while let Some((number, depth)) = left.pop() {
            let page = self.page(number)?;
            let begin = if number == 1 { HEADER } else { 0 };
            let kind = *page.get(begin)?;
            let count = usize::from(u16::from_be_bytes(array(&page, begin + 3)?));
            self.pages.work(count.checked_mul(ELEMENT_WORK)?)?;
            let pointers = begin + if kind == INTERIOR { 12 } else { 8 };
            let cells = (0..count).map(|index| {
                let pointer = u16::from_be_bytes(array(&page, pointers + 2 * index)?);
                Some(usize::from(pointer))
            });
            match kind {
                INTERIOR if depth < MAX_DEPTH => {
                    let last = u32::from_be_bytes(array(&page, begin + 8)?);
                    left.push((last, depth + 1));
                    for cell in cells {
                        let child = u32::from_be_bytes(array(&page, cell?)?);
                        left.push((child, depth + 1));
                    }
                }
                LEAF => {
                    for cell in cells {
                        let record = self.record(&page, cell?)?;
                        if columns(&record).is_some_and(|columns| is_it(&columns)) {
                            return Some(record);
                        }
                    }
                }
                _ => return None,
            }
        }
        None
    }

    /// The record of a cell, which continues on other pages if it is long.
    fn record(&self, page: &[u8], cell: usize) -> Option<Vec<u8>> {
        let (length, at) = varint(page, cell)?;
        let (_, at) = varint(page, at)?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_CONFIG)?;
        let most = self.usable - 35;
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = match length {
            length if length <= most => length,
            _ => match least + (length - least) % (self.usable - 4) {
                local if local <= most => local,
                _ => least,
            },
        };
        self.pages.work(local)?;
        let mut record = page.get(at..at.checked_add(local)?)?.to_vec();
        let mut next = match local < length {
            true => u32::from_be_bytes(array(page, at + local)?),
            false => 0,
        };
        while record.len() < length {
            let page = self.page(next)?;
            let take = (length - record.len()).min(self.usable - 4);
            record.extend(page.get(4..4 + take)?);
            next = u32::from_be_bytes(array(&page, 0)?);
        }
        Some(record)
    }
}

/// The values of a record: a header of types, and then what they say.
fn columns(record: &[u8]) -> Option<Vec<&[u8]>> {
    let (length, mut at) = varint(record, 0)?;
    let header = usize::try_from(length).ok()?;
    if header > MAX_COLUMNS {
        return None;
    }
    let mut value = header;
    let mut columns = Vec::new();
    while at < header {
        let (kind, next) = varint(record, at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let end = value.checked_add(usize::try_from(length).ok()?)?;
        columns.push(record.get(value..end)?);
        (at, value) = (next, end);
    }
    Some(columns)
}

/// A number of up to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        if index == 8 {
            return Some((number << 8 | u64::from(byte), at + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + index + 1));
        }
    }
    None
}
