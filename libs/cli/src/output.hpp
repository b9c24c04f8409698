// Tables, colours and foreign text on a terminal.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "cli/cli.hpp"

namespace vaultysclaw::cli {

enum class Style : std::uint8_t { Plain, Bold, Dim, Good, Warning, Bad };

// Colours are for terminals, and only while NO_COLOR is unset (no-color.org).
class Painter {
 public:
  Painter(const Environment& environment, Terminal terminal);
  std::string paint(Style style, const std::string& text) const;
  bool colours() const { return colours_; }

 private:
  bool colours_;
};

// The style of a status word: connected, success, failed, pending...
Style statusStyle(std::string_view status);

// Foreign text for a terminal: control characters, also those of two bytes, become '?'; line feeds and tabs stay.
std::string terminalText(std::string_view text);

// Columns as wide as their widest cell, two blanks apart; the last one is not padded.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  struct Cell {
    std::string text;
    Style style = Style::Plain;
  };
  void row(std::vector<Cell> cells);
  void print(std::ostream& out, const Painter& painter) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace vaultysclaw::cli
