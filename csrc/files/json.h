// JSON (RFC 8259), as far as model files need it: read within bounds, from whatever bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace gru {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;

  // Throws std::invalid_argument where the text is no JSON, is nested too deeply, or names a member twice.
  static Json read(std::string_view text);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_text() const { return std::holds_alternative<std::string>(value_); }

  // Each throws std::invalid_argument, which names `what`, where the value is of another kind.
  bool flag(const std::string& what) const;
  double number(const std::string& what) const;
  size_t whole(const std::string& what) const;  // at least 0
  const std::string& text(const std::string& what) const;
  const Array& array(const std::string& what) const;
  const Object& object(const std::string& what) const;
  // Where the value stands in the text that was read.
  std::string_view source() const { return source_; }

 private:
  friend class JsonReader;
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value_;
  std::string_view source_;
};

}  // namespace gru
