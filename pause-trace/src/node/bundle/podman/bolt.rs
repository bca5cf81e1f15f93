//! Reads a Bolt file: a tree of pages ([format]). Numbers are in the byte order of the machine.
//!
//! [format]: https://github.com/etcd-io/bbolt/blob/main/internal/common/page.go

use super::{ELEMENT_WORK, MAX_CONFIG, MAX_DEPTH, Pages, array};

const MAGIC: u32 = 0xED0C_DAED;

/// The header of a page, and of an element of one.
const HEADER: usize = 16;
const ELEMENT: usize = 16;

/// Flags of a page, and that a value is a bucket.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const BUCKET: u32 = 1;

/// Page sizes that are believed.
const SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The configuration of a container: the value of `config` in its bucket in the bucket `ctr`
/// (libpod/boltdb_state_internal.go).
pub(super) fn find(pages: &Pages, id: &str) -> Option<Vec<u8>> {
    let tree = Tree::open(pages)?;
    let containers = tree.bucket(tree.root.clone(), b"ctr")?;
    let container = tree.bucket(containers, id.as_bytes())?;
    let (flags, config) = tree.get(container, b"config")?;
    (flags & BUCKET == 0).then_some(config)
}

/// Where a bucket begins.
#[derive(Clone)]
enum Root {
    Page(u64),
    /// A small bucket is a page within a value.
    Inline(Vec<u8>),
}

struct Tree<'a> {
    pages: &'a Pages,
    size: u32,
    root: Root,
}

impl<'a> Tree<'a> {
    /// Takes the newer one of the two valid metas.
    fn open(pages: &'a Pages) -> Option<Self> {
        let first = pages.read(0, HEADER + 64)?;
        let sizes = Meta::parse(&first).map(|meta| meta.size);
        // If the first one is being written, the size is not known.
        let size = sizes.unwrap_or(4_096);
        let second = pages.read(u64::from(size), HEADER + 64)?;
        let metas = [Meta::parse(&first), Meta::parse(&second)];
        let newest = metas.into_iter().flatten().max_by_key(|meta| meta.number)?;
        Some(Self {
            pages,
            size: newest.size,
            root: Root::Page(newest.root),
        })
    }

    fn bucket(&self, root: Root, key: &[u8]) -> Option<Root> {
        let (flags, value) = self.get(root, key)?;
        let page = u64::from_ne_bytes(array(&value, 0)?);
        match (flags & BUCKET, page) {
            (0, _) => None,
            // The page follows its root and its sequence.
            (_, 0) => Some(Root::Inline(value.get(16..)?.to_vec())),
            (_, page) => Some(Root::Page(page)),
        }
    }

    /// The flags and the value of a key.
    fn get(&self, root: Root, key: &[u8]) -> Option<(u32, Vec<u8>)> {
        let mut page = match root {
            Root::Page(number) => self.page(number)?,
            Root::Inline(page) => page,
        };
        for _ in 0..MAX_DEPTH {
            let flags = u16::from_ne_bytes(array(&page, 8)?);
            let count = usize::from(u16::from_ne_bytes(array(&page, 10)?));
            self.pages.work(count.checked_mul(ELEMENT_WORK)?)?;
            if flags & LEAF != 0 {
                return (0..count).find_map(|index| {
                    let at = HEADER + index * ELEMENT;
                    let [flags, position, key_size, value_size] =
                        [0, 4, 8, 12].map(|field| word(&page, at + field));
                    let begin = at.checked_add(position?)?;
                    let end = begin.checked_add(key_size?)?;
                    let is_it = page.get(begin..end)? == key;
                    let value = is_it.then(|| page.get(end..end.checked_add(value_size?)?))??;
                    Some((u32::try_from(flags?).ok()?, value.to_vec()))
                });
            }
            if flags & BRANCH == 0 {
                return None;
            }
            // The last child whose first key is not after the wanted one.
            let mut child = None;
            for index in 0..count {
                let at = HEADER + index * ELEMENT;
                let begin = at.checked_add(word(&page, at)?)?;
                let first = page.get(begin..begin.checked_add(word(&page, at + 4)?)?)?;
                if first > key && child.is_some() {
                    break;
                }
                child = Some(u64::from_ne_bytes(array(&page, at + 8)?));
            }
            page = self.page(child?)?;
        }
        None
    }

    /// A page with those that continue it.
    fn page(&self, number: u64) -> Option<Vec<u8>> {
        let offset = number.checked_mul(self.size.into())?;
        let header = self.pages.read(offset, HEADER)?;
        let more = u64::from(u32::from_ne_bytes(array(&header, 12)?));
        let is_it = u64::from_ne_bytes(array(&header, 0)?) == number;
        let length = more.checked_add(1)?.checked_mul(self.size.into())?;
        let length = usize::try_from(length).ok()?;
        (is_it && length <= MAX_CONFIG).then(|| self.pages.read(offset, length))?
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(array(bytes, at)?)).ok()
}

/// The root of the tree as of one transaction.
struct Meta {
    size: u32,
    root: u64,
    /// The number of the transaction.
    number: u64,
}

impl Meta {
    fn parse(page: &[u8]) -> Option<Self> {
        let is_meta = u16::from_ne_bytes(array(page, 8)?) & META != 0;
        let meta = page.get(HEADER..HEADER + 64)?;
        let [magic, version, size] =
            [0, 4, 8].map(|at| array(meta, at).map(u32::from_ne_bytes).unwrap_or_default());
        let sum = u64::from_ne_bytes(array(meta, 56)?);
        let is_valid = (magic, version) == (MAGIC, 2)
            && SIZES.contains(&size)
            && size.is_power_of_two()
            && sum == fnv(&meta[..56]);
        (is_meta && is_valid).then_some(Self {
            size,
            root: u64::from_ne_bytes(array(meta, 16)?),
            number: u64::from_ne_bytes(array(meta, 48)?),
        })
    }
}

/// FNV-1a with 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    const SIZE: usize = 4_096;

    /// A file with these containers and their configurations: one bucket of containers below a
    /// branch, and a bucket for each, which is inline if it is small.
    pub(crate) fn database(containers: &[(&str, &str)]) -> Vec<u8> {
        let mut pages: Vec<Vec<u8>> = vec![Vec::new(); 4];
        let mut buckets = Vec::new();
        for (id, config) in containers {
            let inline = leaf(0, &[(0, b"config", config.as_bytes()), (0, b"name", b"x")]);
            let mut value = vec![0; 16];
            if inline.len() < 1_000 {
                value.extend(&inline);
            } else {
                let number: usize = pages
                    .iter()
                    .map(|page| page.len().div_ceil(SIZE).max(1))
                    .sum();
                value[..8].copy_from_slice(&u64::to_ne_bytes(number as u64));
                pages.push(leaf(
                    number as u64,
                    &[(0, b"config", config.as_bytes()), (0, b"name", b"x")],
                ));
            }
            buckets.push((id.as_bytes(), value));
        }
        let entries: Vec<_> = buckets
            .iter()
            .map(|(id, value)| (BUCKET, *id, &value[..]))
            .collect();
        pages[3] = leaf(3, &entries);
        assert!(pages[3].len() <= SIZE, "too many for the test");
        let mut branch = header(2, BRANCH, 1, 0);
        branch.extend(u32::to_ne_bytes(16));
        branch.extend(u32::to_ne_bytes(1));
        branch.extend(u64::to_ne_bytes(3));
        branch.extend(b"0");
        // The branch is the root of the bucket of containers, the root has only that bucket.
        let number = pages
            .iter()
            .map(|page| page.len().div_ceil(SIZE).max(1))
            .sum::<usize>();
        let mut containers = vec![0; 16];
        containers[..8].copy_from_slice(&u64::to_ne_bytes(2));
        pages[2] = branch;
        pages.push(leaf(number as u64, &[(BUCKET, b"ctr", &containers)]));
        pages[0] = meta(0, 6, number as u64);
        pages[1] = meta(1, 5, 99);
        let mut file = Vec::new();
        for page in pages {
            file.extend(page);
            file.resize(file.len().div_ceil(SIZE) * SIZE, 0);
        }
        file
    }

    fn header(number: u64, flags: u16, count: usize, more: usize) -> Vec<u8> {
        let mut page = number.to_ne_bytes().to_vec();
        page.extend(flags.to_ne_bytes());
        page.extend(u16::try_from(count).expect("few").to_ne_bytes());
        page.extend(u32::try_from(more).expect("few").to_ne_bytes());
        page
    }

    fn leaf(number: u64, entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
        let data: usize = entries
            .iter()
            .map(|(_, key, value)| key.len() + value.len())
            .sum();
        let length = HEADER + entries.len() * ELEMENT + data;
        let mut page = header(number, LEAF, entries.len(), length.div_ceil(SIZE) - 1);
        let mut position = HEADER + entries.len() * ELEMENT;
        for (index, (flags, key, value)) in entries.iter().enumerate() {
            let at = HEADER + index * ELEMENT;
            let numbers = [*flags as usize, position - at, key.len(), value.len()];
            page.extend(numbers.map(|number| (number as u32).to_ne_bytes()).concat());
            position += key.len() + value.len();
        }
        for (_, key, value) in entries {
            page.extend(*key);
            page.extend(*value);
        }
        page
    }

    fn meta(page: u64, number: u64, root: u64) -> Vec<u8> {
        let mut meta = [MAGIC, 2, SIZE as u32, 0].map(u32::to_ne_bytes).concat();
        meta.extend([root, 0, 0, 0, number].map(u64::to_ne_bytes).concat());
        meta.extend(fnv(&meta).to_ne_bytes());
        [header(page, META, 0, 0), meta].concat()
    }
}
