//! Removes the debug information from the eBPF program: the loader only needs the BTF that the
//! linker generated from it.

use std::{error::Error, fs, path::Path};

use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Writes the object in `from` to `to` without its DWARF sections and their relocations.
pub(crate) fn strip(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let object = fs::read(from)?;
    let mut builder = Builder::read(&*object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // The linker stores section names and symbol names in one table, which the builder does not
    // support.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    fs::write(to, stripped)?;
    Ok(())
}
